"""A caller in bad weather: talks, keys, interrupts and hangs up as chance has it; all sound of the call is its own."""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from chaos.ghosts import Deafness, Trigger
from rehearsal.audio import SAMPLE_RATE, tone
from rehearsal.model import CallTool, ModelSession, Reply, ReplyRequest, Say, Script
from rehearsal.peer import Peer
from rehearsal.twilio import Call, CallScript, Human
from rehearsal.twilio.stream import MediaStream
from rehearsal.world import World

LOCKSMITH, DEFAULT = "+97231110001", "+97231234567"
FRAME_BYTES = 160
SENTENCE_MS = (300, 1200)
TOOLS = ("answer_step", "answer_step", "side_question", "unclear", "end_call", "transfer_to_human")


def fingerprint(seed: int, ms: int) -> bytes:
    """Audio that occurs in no other call."""
    return random.Random(seed).randbytes(ms * SAMPLE_RATE // 1000)


class Weathered(Script):
    """Judges at random, and speaks in sounds that no other call has; its one answer names the call."""

    def __init__(self, number: int, chance: random.Random) -> None:
        self.number, self._chance = number, chance
        self.spoken: list[bytes] = []
        self.failures = 0
        """How many of the next replies it fails at."""

    def heard(self, session: ModelSession) -> str:  # noqa: ARG002 - the transcriber wrote nothing down
        """An empty transcript."""
        return ""

    def reply(self, request: ReplyRequest) -> Reply:
        """A judgement where one is required, else words with this call's own sound."""
        if self.failures:
            self.failures -= 1
            return Reply(status="failed", error=("server_error", "The model failed at it."))
        if request.tool_choice == "required":
            tool = self._chance.choice(TOOLS)
            told = {"language": "he", "step": "problem", "value": f"caller {self.number}", "reason": "not_understood"}
            return Reply([CallTool(tool, told)], first_after_s=0.02)
        sound = fingerprint(self.number * 1000 + len(self.spoken), self._chance.randint(*SENTENCE_MS))
        self.spoken.append(sound)
        return Reply([Say(request.phrase or request.told or "...", audio=sound)], first_after_s=0.02)


@dataclass(eq=False)
class Talker:
    """One call and what is known of it from outside."""

    call: Call
    script: Weathered
    world: World
    hung_up: bool = False
    """Whether it was the caller who ended the call, streaming or not."""
    troubles: list[str] = field(default_factory=list)
    """What was done to it, in order."""
    triggers: dict[MediaStream, Trigger] = field(default_factory=dict)
    """What ended each of its streams, where that was somebody else's doing than Kav's."""
    deafness: Deafness = field(default_factory=Deafness)
    spent: set[Peer] = field(default_factory=set)
    """Peers that ended their connection themselves: nobody owes them a close frame."""

    @property
    def sessions(self) -> list[ModelSession]:
        """The model's sessions that were opened for it."""
        return self.world.sessions_of(self.call)

    def live_stream(self) -> MediaStream | None:
        """The stream that both sides hold open, if one is."""
        stream = self.call.streams[-1] if self.call.streams else None
        there = stream is not None and stream.started_at is not None and not stream.over.is_set()
        return stream if there and stream is not None and stream.peer.eof_at is stream.peer.closed_at is None else None

    def live_session(self) -> ModelSession | None:
        """The model's session that both sides hold open, if one is."""
        return self.sessions[-1] if self.sessions and self.sessions[-1].is_open else None

    def ends_now(self, what: str, *, late_s: float = 0.0, deaf: bool = False) -> None:
        """Note that the live stream is being ended, `late_s` from now; `deaf`: its socket hears no end of Kav's."""
        stream = self.live_stream()
        if stream is None or stream in self.triggers:
            return
        peers = [session.peer for session in self.sessions if session.is_open] + ([] if deaf else [stream.peer])
        self.triggers[stream] = Trigger(self.call.sid, what, time.monotonic() + late_s, peers)

    @property
    def was_left_in_silence(self) -> bool:
        """Whether it was answered, and ended by nobody else, and yet the caller heard neither the bot nor Twilio."""
        call = self.call
        answered = call.answered_at is not None and not (self.triggers or self.hung_up)
        return answered and not (call.heard_ms or call.said or call.dialled)

    def strange_bytes(self) -> int:
        """Bytes that the caller was sent and that are no sound of this call's."""
        own = self.script.spoken
        sent = (message.audio for message in self.call.received if message.audio)
        return sum(len(audio) for audio in sent if not any(audio in sound for sound in own))

    def foreign_frames(self) -> int:
        """Frames that the model was sent and that this caller never spoke."""
        spoken = set(self.call.sent_frames)
        heard: Sequence[bytes] = [session.audio_in for session in self.sessions]
        frames = (audio[at : at + FRAME_BYTES] for audio in heard for at in range(0, len(audio), FRAME_BYTES))
        return sum(frame not in spoken for frame in frames)


async def live(world: World, number: int, chance: random.Random, for_s: float, arrives: list[Talker]) -> None:
    """Call, talk for about so long, and hang up, unless the call is over before."""
    script = Weathered(number, chance)
    line = CallScript(human=Human("answered", talks_s=0.3), say_s_a_character=0.002)
    call = await world.call(script, line, to=chance.choice((LOCKSMITH, LOCKSMITH, DEFAULT)))
    talker = Talker(call, script, world)
    arrives.append(talker)
    until = asyncio.get_running_loop().time() + for_s * chance.uniform(0.3, 1.7)
    voice = tone(200 + number % 397, 320, 0.6)
    while asyncio.get_running_loop().time() < until and call.ended_at is None:
        await asyncio.sleep(chance.uniform(0.1, 1.0))
        await _act(call, chance, voice)
    if call.ended_at is None:
        talker.hung_up = True
        talker.ends_now("the caller hangs up")
        await call.hang_up()


async def _act(call: Call, chance: random.Random, voice: bytes) -> None:
    """One thing that a caller does; on a line that is lost just then it comes to nothing."""
    try:
        if chance.random() < 0.7:
            await call.say(voice)
        else:
            call.dtmf(chance.choice("0123456789*#"))
    except (LookupError, ConnectionError, RuntimeError):
        await asyncio.sleep(0.05)

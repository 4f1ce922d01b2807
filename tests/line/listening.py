"""A call that can be listened to exactly: each sentence of the bot is a noise of its own, found in what sounded."""

import itertools
import random
from collections.abc import Iterable
from dataclasses import dataclass, replace

from rehearsal.audio import SAMPLE_RATE, tone
from rehearsal.model import Faults, ModelSession, Reply, ReplyRequest, Say, Script
from rehearsal.model.rules import Event
from rehearsal.twilio import Call, CallScript, Line
from rehearsal.world import World

SPEECH = tone(300, 300, 0.6)
"""A caller's voice as far as any voice activity detector can tell, without a pause in it."""
HEARD_AFTER_MS = 60
"""The model's detector believes in speech after three voiced frames."""

CROSSING_S = 0.05
"""What one side had sent before it could know better has arrived by then."""


def noise(seed: int, ms: int) -> bytes:
    """Audio that occurs nowhere else."""
    return random.Random(seed).randbytes(ms * SAMPLE_RATE // 1000)


def say(*sounds: bytes, first_after_s: float = 0.05) -> Reply:
    """A reply of one message item for each sound."""
    return Reply([Say("...", audio=sound) for sound in sounds], first_after_s)


class Voiced(Script):
    """Greets with `greeting`, then gives its answers, then is content with a short noise."""

    def __init__(self, greeting: Reply, answers: Iterable[Reply] = ()) -> None:
        self.greeting = greeting
        self.answers = list(answers)

    def heard(self, session: ModelSession) -> str:  # noqa: ARG002 - the transcriber heard nothing that it could write
        """An empty transcript, which must not keep a turn from its reply."""
        return ""

    def reply(self, request: ReplyRequest) -> Reply:
        """The greeting for a phrase, in the words that were asked for; the next answer for anything else."""
        if request.phrase is not None:
            return _in_words(self.greeting, request.phrase)
        return self.answers.pop(0) if self.answers else say(noise(0, 200))


def _in_words(reply: Reply, phrase: str) -> Reply:
    """A reply whose first item says the phrase, and whose others say nothing that could be read."""
    texts = itertools.chain([phrase], itertools.repeat(""))
    parts = [replace(part, text=next(texts)) if isinstance(part, Say) else part for part in reply.parts]
    return replace(reply, parts=parts)


@dataclass(frozen=True)
class Talk:
    """One call, from both of its ends."""

    call: Call
    session: ModelSession

    def heard_ms_of(self, sound: bytes) -> float:
        """How much of a sound the caller has heard; it begins where its first 2 ms stand."""
        heard = b"".join(segment.audio for segment in self.call.heard)
        at = heard.find(sound[:16])
        if at < 0:
            return 0.0
        same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(heard[at:], sound, strict=False))
        return sum(1 for _ in same) * 1000 / SAMPLE_RATE

    @property
    def items(self) -> list[str]:
        """The model's message items, in the order in which they were begun."""
        added = self.session.journal.of("response.output_item.added")
        return [event["item"]["id"] for event in added if event["item"]["type"] == "message"]

    def asked(self, kind: str) -> list[Event]:
        """What Kav has sent of this type."""
        return [event for _at, event in self.session.received if event["type"] == kind]

    @property
    def truncations(self) -> list[tuple[str, int]]:
        """Kav's truncations: item and milliseconds."""
        return [(event["item_id"], event["audio_end_ms"]) for event in self.asked("conversation.item.truncate")]

    @property
    def deletions(self) -> list[str]:
        """The items that Kav let the model forget."""
        return [event["item_id"] for event in self.asked("conversation.item.delete")]

    async def cleared(self, count: int = 1) -> float:
        """Wait for the so-manieth `clear`; return when it came."""
        await self.call.until(lambda: len(self.call.clears) >= count)
        return self.call.clears[count - 1]

    async def interrupt(self) -> float:
        """Let the model hear speech at this moment; return when the buffer was cleared."""
        count = len(self.call.clears) + 1
        self.session.ears.hear_speech()
        return await self.cleared(count)

    async def answered(self, turns: int = 1, replies: int | None = None) -> None:
        """Wait until so many turns are committed, and everything that was asked for is over and has been heard."""
        await self.session.wait_for("input_audio_buffer.committed", turns)
        await self.session.wait_for("response.done", replies or turns + 1)
        await self.call.until_quiet()

    def sent_after_clear(self, sound: bytes, clear: int = 1) -> int:
        """Bytes of a sound that were sent after the so-manieth `clear`."""
        clears = [n for n, message in enumerate(self.call.received) if message.event == "clear"]
        later = self.call.received[clears[clear - 1] :]
        return sum(len(message.audio) for message in later if message.audio and message.audio in sound)

    def hold_to_the_rules(self, replies: int) -> None:
        """So many replies were asked for, none while the caller spoke, and neither protocol was broken."""
        assert len(self.asked("response.create")) == replies
        assert self.session.violations == []
        assert self.call.violations == []
        for started_at, committed_at in self._turns():
            asked = [at for at, event in self.session.received if event["type"] == "response.create"]
            assert not [at for at in asked if started_at + CROSSING_S < at < committed_at], "the caller was speaking"

    def _turns(self) -> Iterable[tuple[float, float]]:
        sent = self.session.sent
        begun = [at for at, event in sent if event["type"] == "input_audio_buffer.speech_started"]
        ended = [at for at, event in sent if event["type"] == "input_audio_buffer.committed"]
        return zip(begun, ended, strict=False)


async def talking(
    world: World, greeting: Reply, *answers: Reply, delay_s: float = 0.0, faults: Iterable[Faults] = ()
) -> Talk:
    """A call whose bot is about to greet; `delay_s` is the network's, one way."""
    call = await world.connected_call(Voiced(greeting, answers), CallScript(line=Line(delay_s=delay_s)), faults)
    return Talk(call, await world.session_of(call))

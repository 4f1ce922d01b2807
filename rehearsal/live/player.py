"""Plays a scenario's caller to a model that nobody has written: by ear alone, when the bot has fallen silent.

What the bot says is not known beforehand, so nothing waits for a text: `while_bot_says` is "while the bot speaks". What
a real model needs is time: it is waited for generously, and a whole call is bounded.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from rehearsal.live.record import Record, settled
from rehearsal.player import begin
from rehearsal.scenario import Scenario, Step
from rehearsal.twilio import Call
from rehearsal.twilio.playback import Segment
from rehearsal.witness import Happening, Who
from rehearsal.world import World

MOMENT_WITHIN_S = 30.0
"""How long the bot may take to begin, or to come to an end."""
QUIET_S = 1.5
"""So long the bot has said nothing when it has finished: longer than a model's pause between two sentences that it
sends one after the other, far shorter than the silence at which Kav asks whether anybody is there."""
PAUSE_S = 0.4
"""A gap that is shorter belongs to what is being said."""
END_WITHIN_S = 40.0
CALL_WITHIN_S = 480.0
FIN_WITHIN_S = 3.0

Speak = Callable[[str, str], bytes]
Tell = Callable[[Happening], None]


class Missed(Exception):
    """A step's moment did not come; the message says which."""


@dataclass(frozen=True)
class Sound:
    """The bot speaking without a pause; monotonic seconds."""

    began_at: float
    ended_at: float


@dataclass(frozen=True)
class Spoken:
    """One line of the caller's; monotonic seconds."""

    step: Step
    language: str
    began_at: float
    ended_at: float


@dataclass(frozen=True)
class LivePerformance:
    """What was seen of one call from outside, and what Kav has on record of it. Times are monotonic seconds."""

    began_at: float
    """When its first stream began, from which the record counts; nan if none did."""
    lines: tuple[Spoken, ...]
    sounds: tuple[Sound, ...]
    ended_by: tuple[float, ...]
    """When somebody else than Kav ended something: a hang-up, a fault of the line."""
    fins: tuple[float | None, ...]
    """When Kav's FIN came, for each media socket."""
    person: str
    """The number of whoever talks with the bot."""
    direction: str
    streams: int
    statuses: tuple[str, ...]
    announced: tuple[str, ...]
    dialled: tuple[str, ...]
    violations: tuple[str, ...]
    record: Record
    missed: str = ""


async def play(world: World, scenario: Scenario, tell: Tell, speak: Speak) -> tuple[Call, LivePerformance]:
    """Play it to its end, whatever happens; a call that does not end by itself is hung up."""
    call = await begin(world, scenario)
    player = Player(call, scenario, speak, tell)
    try:
        missed = await player.perform()
        await player.until_over()
        return call, player.performance(missed, await settled(world.kav.database, call.sid))
    finally:
        await player.leave()


@dataclass
class Player:
    """Plays one scenario's steps."""

    call: Call
    scenario: Scenario
    speak: Speak
    tell: Tell
    _acted_at: float = 0.0
    _line_began_at: float = 0.0
    _speaking: asyncio.Task[None] | None = None
    _ended_by: list[float] = field(default_factory=list)
    _lines: list[Spoken] = field(default_factory=list)

    async def perform(self) -> str:
        """Play every step; returns "", or why the rest was left out."""
        self._acted_at = self.call.placed_at
        self._note("line", f"{self.call.order.from_} calls {self.call.order.to}")
        deadline = self.call.placed_at + CALL_WITHIN_S
        for number, step in enumerate(self.scenario.steps, 1):
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    await self._moment(step)
                    await self._act(step)
            except (Missed, LookupError) as error:
                return f"step {number} ({step.act}): {error}"
            except TimeoutError:
                return f"step {number} ({step.act}): the call took longer than {CALL_WITHIN_S:.0f} s"
        return ""

    async def until_over(self) -> None:
        """Until the call has ended and its sockets are closed; who waits in vain hangs up."""
        if self._speaking is not None:
            await asyncio.wait({self._speaking})
        try:
            await self.call.until_reported(END_WITHIN_S)
        except TimeoutError:
            self._note("caller", "gives up: the call does not end")
            self._ended_by.append(time.monotonic())
            await self.call.hang_up()
        with suppress(TimeoutError):  # adherence will tell
            await self.call.until(lambda: None not in self._fins(), FIN_WITHIN_S)
        self._note("line", f"the call is over: {self.call.status}")

    async def leave(self) -> None:
        """Let nothing go on, whether the call was played to its end or the rehearsal was stopped."""
        if self._speaking is not None:
            self._speaking.cancel()
        await self.call.shut_down()

    # Moments

    async def _moment(self, step: Step) -> None:
        if step.into_own_words_ms is not None:
            await asyncio.sleep(self._line_began_at + step.into_own_words_ms / 1000 - time.monotonic())
            return
        if self._speaking is not None:
            await self._speaking
        if step.after_s is not None:
            await asyncio.sleep(step.after_s)
        elif step.while_bot_says is not None:
            await self._wait_for(lambda: self._sounds_for() >= step.after_ms / 1000, "the bot did not speak so long")
        elif step.act != "stays_silent_s":
            await self._wait_for(self._bot_has_finished, "the bot said nothing, or did not finish")

    def _sounds_for(self) -> float:
        """For how long the bot is speaking now of what began after the last act; 0 if it is not."""
        now = time.monotonic()
        newest = self._sounds()[-1:]
        sounding = bool(newest) and newest[0].ended_at >= now - PAUSE_S and newest[0].ended_at > self._acted_at
        return now - newest[0].began_at if sounding else 0.0

    def _bot_has_finished(self) -> bool:
        answered = any(sound.began_at > self._acted_at for sound in self._sounds())
        ends = [end for stream in self.call.streams if (end := stream.playback.sounds_until()) is not None]
        return answered and time.monotonic() - max(ends) >= QUIET_S

    async def _wait_for(self, predicate: Callable[[], bool], otherwise: str) -> None:
        try:
            await self.call.until(lambda: predicate() or self.call.ended_at is not None, MOMENT_WITHIN_S)
        except TimeoutError:
            raise Missed(f"{otherwise} within {MOMENT_WITHIN_S:.0f} s") from None
        if not predicate():
            raise Missed(f"{otherwise} before the call ended")

    # Acts

    async def _act(self, step: Step) -> None:
        self._acted_at = time.monotonic()
        await getattr(self, f"_{step.act}")(step)

    async def _says(self, step: Step) -> None:
        language = step.language or self.scenario.language
        audio = self.speak(step.says or "", language)
        self._line_began_at = time.monotonic()
        self._note("caller", step.says or "", spoken=True)
        self._speaking = asyncio.get_running_loop().create_task(self._speak_line(step, language, audio))

    async def _speak_line(self, step: Step, language: str, audio: bytes) -> None:
        spoken = await self.call.say(audio)
        self._lines.append(Spoken(step, language, spoken.began_at, spoken.ended_at))

    async def _presses(self, step: Step) -> None:
        self._note("caller", f"presses {step.presses}")
        self.call.dtmf(step.presses or "")

    async def _stays_silent_s(self, step: Step) -> None:
        self._note("caller", f"is silent for {step.stays_silent_s:g} s")
        await asyncio.sleep(step.stays_silent_s or 0)

    async def _hangs_up(self, _step: Step) -> None:
        self._note("caller", "hangs up")
        self._ended_by.append(time.monotonic())
        await self.call.hang_up()

    async def _line(self, step: Step) -> None:
        self._note("line", f"fails: {step.line}")
        self._ended_by.append(time.monotonic())
        self.call.drop(step.line or "")

    # What was seen

    def performance(self, missed: str, record: Record) -> LivePerformance:
        """Everything that was seen."""
        began_at = self.call.streams[0].started_at if self.call.streams else None
        return LivePerformance(
            began_at=began_at if began_at is not None else float("nan"),
            lines=tuple(self._lines),
            sounds=tuple(self._sounds()),
            ended_by=tuple(self._ended_by),
            fins=self._fins(),
            person=self.call.order.from_ if self.scenario.outbound is None else self.call.order.to,
            direction="inbound" if self.scenario.outbound is None else "outbound",
            streams=len(self.call.streams),
            statuses=tuple(asked.form["CallStatus"] for asked in self.call.statuses),
            announced=tuple(self.call.said),
            dialled=tuple(self.call.dialled),
            violations=tuple(f"{notice.code}: {notice.text}" for notice in self.call.violations),
            record=record,
            missed=missed,
        )

    def _sounds(self) -> list[Sound]:
        return joined(self.call.heard)

    def _fins(self) -> tuple[float | None, ...]:
        """A FIN counts; where the stand-in itself cut the connection its own cut does, for nothing can follow it."""
        peers = [stream.peer for stream in self.call.streams]
        return tuple(peer.eof_at or peer.reset_at or peer.closed_at for peer in peers)

    def _note(self, who: Who, text: str, *, spoken: bool = False) -> None:
        self.tell(Happening(time.monotonic() - self.call.placed_at, who, text, spoken))


def joined(segments: Sequence[Segment]) -> list[Sound]:
    """Segments without a pause between them as one sound each."""
    sounds: list[Sound] = []
    for segment in segments:
        if sounds and segment.start_s - sounds[-1].ended_at < PAUSE_S:
            sounds[-1] = Sound(sounds[-1].began_at, segment.end_s)
        else:
            sounds.append(Sound(segment.start_s, segment.end_s))
    return sounds

"""Plays a scenario: one caller, one call, over a real line, at its own pace; and notes what can be seen of it.

performance = await play(world, scenario, tell)     # tell(Happening) as it happens
verdicts = judge(scenario, performance)             # rehearsal.verdict
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from rehearsal.expectation import matches
from rehearsal.hearing import Hearing, Sound
from rehearsal.model import ModelSession, Script
from rehearsal.model.rules import Violation
from rehearsal.prompter import Prompter, Speak
from rehearsal.record import Record, compare, read_until
from rehearsal.scenario import ANY, Scenario, Step
from rehearsal.twilio import Call, Callee, CallScript, Human, Line
from rehearsal.twilio.observed import Notice
from rehearsal.websocket import Peer
from rehearsal.witness import CallerLine, Fin, Happening, Witness, bot_line
from rehearsal.world import World

MOMENT_WITHIN_S = 15.0
"""How long a step's moment is waited for: longer than any answer takes, shorter than a spectator's patience."""
END_WITHIN_S = 20.0
FIN_WITHIN_S = 2.0
BREATH_S = 0.5
"""What a person waits after somebody has finished, before speaking."""

Tell = Callable[[Happening], None]


class Missed(Exception):
    """A step's moment did not come; the message says which and what was seen instead."""


@dataclass(frozen=True)
class Performance:
    """What was seen of one call, once it was over. Times are monotonic seconds."""

    call: Call
    lines: tuple[CallerLine, ...]
    sounds: tuple[Sound, ...]
    late_bytes: int
    strange_bytes: int
    unwritten: int
    fins: tuple[Fin, ...]
    model_sessions: int
    record: Record | None
    """Kav's; None where that cannot be read."""
    rules_broken: tuple[str, ...]
    missed: str = ""
    """Why the scenario was not played to its end."""
    asked: Mapping[str, int] = field(default_factory=dict)
    """How often each of the scenario's services was asked."""
    tool_outputs: tuple[str, ...] = ()
    """What the model was given of its tools."""


@dataclass
class _Part:
    """The caller's part, as far as it is played."""

    acted_at: float
    took_floor: bool = False
    """The last act was one that silences the bot."""
    speaking: asyncio.Task[None] | None = None
    line_began_at: float = 0.0
    lines: list[CallerLine] = field(default_factory=list)
    ended_by: list[float] = field(default_factory=list)
    """When somebody ended something: a hang-up, a fault of the line or of the model."""


async def play(world: World, scenario: Scenario, tell: Tell, speak: Speak) -> Performance:
    """Play it to its end, whatever happens; a call that does not end by itself is hung up."""
    prompter = Prompter(scenario.language, speak, scenario.rewords)
    call = await begin(world, scenario, prompter)
    for service in scenario.services:
        world.tools.offer(service.asked, service.answers, after_s=service.after_s, status=service.status)
    player = Player(world, call, scenario, prompter, speak, tell)
    watching = asyncio.get_running_loop().create_task(player.watch())
    try:
        missed = await player.perform()
        await player.until_over()
        return await player.performance(missed)
    finally:
        watching.cancel()
        await player.leave()


async def begin(world: World, scenario: Scenario, model: Script | None = None) -> Call:
    """Somebody calls, or is called; `model` is what the model will know of it."""
    line, human = Line(delay_s=scenario.network_delay_ms / 1000), Human(**scenario.person.model_dump())
    order = scenario.outbound
    if order is None:
        script = CallScript(line=line, human=human)
        return await world.call(model, script, from_=scenario.from_, to=scenario.to)
    callee = Callee(order.outcome, order.rings_s, order.answered_by, order.detected_after_s)
    script = CallScript(line=line, human=human, callee=callee)
    return await world.place_call(model, script, flow=order.flow, to=order.to, variables=order.variables)


class Player:
    """Plays one scenario's steps."""

    def __init__(
        self, world: World, call: Call, scenario: Scenario, prompter: Prompter, speak: Speak, tell: Tell
    ) -> None:
        self._world, self._call, self._scenario = world, call, scenario
        self._prompter, self._speak = prompter, speak
        self._part = _Part(acted_at=call.placed_at)
        self._witness = Witness(call, Hearing(prompter.lines), self.fins, tell)

    async def watch(self) -> None:
        """Tell what happens, until cancelled."""
        await self._witness.watch()

    async def perform(self) -> str:
        """Play every step; returns "", or why the rest was left out."""
        for number, step in enumerate(self._scenario.steps, 1):
            try:
                await self._moment(step)
                await self._act(step)
            except (Missed, TimeoutError, LookupError) as error:
                return f"step {number} ({step.act}): {error}"
        return ""

    async def until_over(self) -> None:
        """Until the call has ended and the sockets are closed; who waits in vain hangs up."""
        if self._part.speaking is not None:
            await asyncio.wait({self._part.speaking})
        try:
            await self._call.until_reported(END_WITHIN_S)
        except TimeoutError:
            self._witness.note("caller", "gives up: the call does not end")
            await self._call.hang_up()
        with suppress(TimeoutError):  # the verdict will tell
            await self._call.until(lambda: all(fin.fin_at is not None for fin in self.fins()), FIN_WITHIN_S)
        self._witness.look()

    async def leave(self) -> None:
        """Let nothing go on, whether the call was played to its end or the rehearsal was stopped."""
        if self._part.speaking is not None:
            self._part.speaking.cancel()
        await self._call.shut_down()

    # Moments

    async def _moment(self, step: Step) -> None:
        if step.into_own_words_ms is not None:
            await self._until(self._part.line_began_at + step.into_own_words_ms / 1000)
            return
        if self._part.speaking is not None:
            await self._part.speaking
        if step.after_s is not None:
            await asyncio.sleep(step.after_s)
        elif step.while_bot_says is not None:
            await self._while_bot_says(step.while_bot_says, step.after_ms / 1000)
        elif step.act != "stays_silent_s":
            await self._wait_for(self._bot_has_finished, "the bot said nothing, or did not finish")

    async def _while_bot_says(self, text: str, after_s: float) -> None:
        def sounding() -> Sound | None:
            fresh = (sound for sound in self._fresh_sounds() if says(sound, text))
            return next((sound for sound in fresh if sound.began_at <= time.monotonic()), None)

        await self._wait_for(lambda: sounding() is not None, f"the bot did not say {text!r}")
        sound = sounding()
        assert sound is not None
        await self._until(sound.began_at + after_s)
        self._witness.look()
        if sound.cut or time.monotonic() > sound.ends_at:
            raise Missed(f"what the bot said was over before {after_s * 1000:.0f} ms of it had sounded: {text!r}")

    def _fresh_sounds(self) -> list[Sound]:
        """What has begun since the last act, or can still be heard where that took nobody's floor."""
        sounded = [sound for sound in self._witness.hearing.sounds if sound.sounded]
        if self._part.took_floor:
            return [sound for sound in sounded if sound.began_at > self._part.acted_at]
        return [sound for sound in sounded if sound.ends_at > self._part.acted_at]

    def _bot_has_finished(self) -> bool:
        now = time.monotonic()
        said = [sound for sound in self._witness.hearing.sounds if sound.sounded]
        answered = any(sound.began_at > self._part.acted_at for sound in said)
        quiet = all(sound.ends_at + BREATH_S <= now for sound in said)
        sessions = self._world.sessions_of(self._call)
        return answered and quiet and not (sessions and sessions[-1].active)

    async def _wait_for(self, predicate: Callable[[], bool], otherwise: str) -> None:
        def come_or_over() -> bool:
            self._witness.look()
            return predicate() or self._call.ended_at is not None

        try:
            await self._call.until(come_or_over, MOMENT_WITHIN_S)
        except TimeoutError:
            raise Missed(f"{otherwise} within {MOMENT_WITHIN_S:.0f} s") from None
        if not predicate():
            raise Missed(f"{otherwise} before the call ended")

    async def _until(self, at: float) -> None:
        await asyncio.sleep(max(0.0, at - time.monotonic()))

    # Acts

    async def _act(self, step: Step) -> None:
        self._part.acted_at, self._part.took_floor = time.monotonic(), step.act in ("says", "presses")
        await getattr(self, f"_{step.act}")(step)

    async def _says(self, step: Step) -> None:
        audio = self._speak(step.says or "", step.language or self._scenario.language)
        self._prompter.caller_says(step)
        self._witness.note("caller", step.says or "", spoken=True)
        self._part.line_began_at = time.monotonic()
        self._part.speaking = asyncio.get_running_loop().create_task(self._speak_line(step.says or "", audio))

    async def _speak_line(self, text: str, audio: bytes) -> None:
        place = len(self._part.lines)
        self._part.lines.append(CallerLine(text, self._part.line_began_at))
        spoken = await self._call.say(audio)
        self._part.lines[place] = CallerLine(text, spoken.began_at)  # exactly; a frame's time later

    async def _presses(self, step: Step) -> None:
        self._witness.note("caller", f"presses {step.presses}")
        self._prompter.caller_presses(step)
        self._call.dtmf(step.presses or "")

    async def _stays_silent_s(self, step: Step) -> None:
        self._witness.note("caller", f"is silent for {step.stays_silent_s:g} s")
        await asyncio.sleep(step.stays_silent_s or 0)

    async def _hangs_up(self, _step: Step) -> None:
        self._end("caller", "hangs up")
        await self._call.hang_up()

    async def _line(self, step: Step) -> None:
        self._end("line", f"fails: {step.line}")
        self._call.drop(step.line or "")

    async def _model(self, step: Step) -> None:
        self._end("model", f"fails: {step.model}")
        session = self._newest_session()
        getattr(session, step.model or "")()

    def _end(self, who: Literal["caller", "line", "model"], what: str) -> None:
        self._witness.note(who, what)
        self._part.ended_by.append(time.monotonic())

    def _newest_session(self) -> ModelSession:
        sessions = self._world.sessions_of(self._call)
        if not sessions:
            raise LookupError("the call has no session with the model")
        return sessions[-1]

    # What was seen

    def fins(self) -> list[Fin]:
        """Every socket of the call: how it ended, if it did, and what ended it of what somebody did."""
        return self._fins(())

    def _fins(self, last_words: Sequence[float]) -> list[Fin]:
        """`last_words`: when each thing that the bot said had sounded; what nobody else ended, Kav ended after one."""
        sessions = self._world.sessions_of(self._call)
        twilio = [_fin("Twilio's", stream.peer, self._part.ended_by, last_words) for stream in self._call.streams]
        return twilio + [_fin("the model's", one.peer, self._part.ended_by, last_words) for one in sessions]

    async def performance(self, missed: str) -> Performance:
        """Everything that was seen."""
        sessions, hearing = self._world.sessions_of(self._call), self._witness.hearing
        record = await self._record() if self._world.owns_kav else None
        return Performance(
            call=self._call,
            lines=tuple(self._part.lines),
            sounds=tuple(sound for sound in hearing.sounds if sound.sounded),
            late_bytes=hearing.late_bytes,
            strange_bytes=hearing.strange_bytes,
            unwritten=self._prompter.unwritten,
            fins=tuple(self._fins([sound.ends_at for sound in hearing.sounds if sound.sounded])),
            model_sessions=len(sessions),
            record=record,
            rules_broken=(
                *map(_of_twilio, self._call.violations),
                *(_of_model(violation) for session in sessions for violation in session.violations),
            ),
            missed=missed,
            asked={service.asked: self._world.tools.times(service.asked) for service in self._scenario.services},
            tool_outputs=tuple(
                item.output
                for session in sessions
                for item in session.conversation.items
                if item.type == "function_call_output"
            ),
        )

    async def _record(self) -> Record:
        def is_right(record: Record) -> bool:
            return all(finding.ok for finding in compare(self._scenario.expect, record, other_party(self._call)))

        return await read_until(self._world.kav.database, self._call.sid, is_right)


def _fin(
    socket: Literal["Twilio's", "the model's"], peer: Peer, ended_by: Sequence[float], last_words: Sequence[float]
) -> Fin:
    """A FIN counts; where the stand-in itself cut the connection its own cut does, for nothing can follow it."""
    fin_at = peer.eof_at or peer.reset_at or peer.closed_at
    opened_at = peer.opened_at or 0.0
    causes = [at for at in ended_by if opened_at <= at and (fin_at is None or at <= fin_at)]
    causes = causes or [at for at in last_words if opened_at <= at and (fin_at is None or at <= fin_at)]
    return Fin(socket, opened_at, causes[-1] if causes else None, fin_at)


def other_party(call: Call) -> str:
    """The number of whoever the bot talks with."""
    return call.order.from_ if call.order.direction == "inbound" else call.order.to


def says(sound: Sound, text: str) -> bool:
    """Whether a sound is (the beginning of) a text."""
    return text == ANY or matches(bot_line(sound).text, text)


def _of_twilio(notice: Notice) -> str:
    return f"Twilio {notice.code}: {notice.text}"


def _of_model(violation: Violation) -> str:
    return f"model {violation.rule}: {violation.message}"

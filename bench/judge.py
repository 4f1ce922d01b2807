"""What it costs that a turn is judged before it is answered: Kav's CPU, and round trips to the model.

The same turn twice over: in a call without a script, where the model answers at once, and in one with a script, where
it first says what the turn was (a tool call) and speaks when Kav has decided. The model's latency is fixed, so whatever
is left of the time to the first sound is Kav's own.
"""

import math
import time
from dataclasses import dataclass, field, replace
from typing import Any

from bench.caller import Caller
from bench.kav_process import KavFailed
from bench.model import Speech
from bench.report import Report, Table, percentile
from bench.world import DEFAULT_NUMBER, World, world

SCRIPT_NUMBER = "+97231110001"
"""The locksmith's: a flow with steps."""
LATENCIES_S = (0.0, 0.1, 0.2)
"""Of the model, for each response."""
LIVE = 20
"""Calls of each kind."""
ROUNDS, QUICK_ROUNDS = 12, 3
"""Turns of each call at no latency, where CPU is measured; a third of them at the others."""
SPEECH = Speech(delta_ms=200, speed=8.0, length_s=0.4)
TURN_S = 0.1
"""How long the caller speaks."""
SPREAD_S = 0.1
"""Within which all calls of a kind begin a turn."""
ROUND_S = 1.2
"""What a round of turns takes besides the model's latency: the answer has sounded, and all is on record. Three of them
are shorter than the silence at which Kav asks whether anybody is there."""
SETTLED_S = 1.0
"""When the greeting has been said."""
OWN_LIMIT_MS = 50.0
"""What Kav itself may add to the model's latency, p50, judged or not."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A kind of call."""

    name: str
    to: str
    trips: int
    """Responses that a turn takes."""


UNJUDGED, JUDGED = Flow("not judged", DEFAULT_NUMBER, 1), Flow("judged", SCRIPT_NUMBER, 2)


@dataclass(slots=True)
class Turns:
    """What the turns of a while took."""

    first_audio_s: list[float] = field(default_factory=list)
    """From the end of a turn to the answer's first sound at the caller's end."""
    requests: int = 0
    """`response.create` in all of them."""

    @property
    def count(self) -> int:
        return len(self.first_audio_s)

    @property
    def trips(self) -> float:
        """Round trips to the model, a turn."""
        return self.requests / self.count if self.count else math.nan


class Conversation:
    """One call whose caller takes turns for as long as it is told to."""

    def __init__(self, a_world: World, caller: Caller, turns: Turns) -> None:
        self._world, self._turns = a_world, turns
        self._session = a_world.model.by_call[caller.number]
        self._ended_at: float | None = None
        self._session.on_event = self._event
        a_world.media(caller).on_response = self._sounds

    def take_turn(self) -> None:
        self._session.caller_speaks()
        self._world.loop.later(TURN_S, self._is_done)

    def _is_done(self) -> None:
        self._ended_at = time.time()
        self._session.caller_is_done()

    def _event(self, kind: str, _event: dict[str, Any], _arrived_at: float) -> None:
        if kind == "response.create" and self._ended_at is not None:
            self._turns.requests += 1

    def _sounds(self, _response: int, arrived_at: float) -> None:
        if self._ended_at is not None:
            self._turns.first_audio_s.append(arrived_at - self._ended_at)
            self._ended_at = None


@dataclass(slots=True)
class Measured:
    """One kind of call."""

    flow: Flow
    turns: dict[float, Turns] = field(default_factory=lambda: {latency_s: Turns() for latency_s in LATENCIES_S})
    """By the model's latency."""
    cpu_s: float = 0.0
    """Of Kav's, in the rounds at no latency."""

    def turn_us(self, quiet_cpu_s: float) -> float:
        """CPU for one turn; what as many rounds cost in which nobody took one is taken off."""
        return (self.cpu_s - quiet_cpu_s) / self.turns[0.0].count * 1e6

    def own_ms(self, latency_s: float) -> float:
        """What is Kav's own of the median time to the first sound."""
        return (percentile(self.turns[latency_s].first_audio_s, 0.5) - self.flow.trips * latency_s) * 1000


def run(*, quick: bool) -> Report:
    report = Report("judge")
    both = Measured(UNJUDGED), Measured(JUDGED)
    with world() as a_world:
        a_world.model.speech = SPEECH
        callers = {measured.flow: _place(a_world, measured.flow) for measured in both}
        a_world.loop.run(SETTLED_S)
        quiet_cpu_s = _take_turns(a_world, both, callers, QUICK_ROUNDS if quick else ROUNDS)
        log = a_world.kav.log_tail()
    if not all(turns.count for measured in both for turns in measured.turns.values()):
        raise KavFailed(f"not every kind of turn was answered. The end of Kav's log:\n{log}")
    table = Table(report, f"a turn, judged and not, {LIVE} live calls of each kind; ms from its end to the first sound")
    for latency_s in LATENCIES_S:
        for measured in both:
            _print(table, measured, latency_s)
    _conclude(report, *both, quiet_cpu_s, len(a_world.measure.refusals))
    return report


def _place(a_world: World, flow: Flow) -> list[Caller]:
    known = set(a_world.talking)
    a_world.to = flow.to
    a_world.place(LIVE)
    a_world.until_talking()
    a_world.loop.run(2.0, until=lambda: all(a_world.session(caller) for caller in a_world.talking))
    return [caller for caller in a_world.talking if caller not in known]


def _take_turns(
    a_world: World, both: tuple[Measured, Measured], callers: dict[Flow, list[Caller]], rounds: int
) -> float:
    """Let one kind of call after the other take a turn, all being live all the time; returns the CPU of quiet rounds.

    So what calls cost besides their turns is the same in every round, and what else the machine does hits all alike.
    """
    quiet_cpu_s = 0.0
    for latency_s in LATENCIES_S:
        for session in a_world.model.sessions:
            session.speech = replace(SPEECH, latency_s=latency_s)
        for _ in range(rounds if not latency_s else rounds // 3):
            if not latency_s:
                quiet_cpu_s += _round(a_world, [], latency_s)
            for measured in both:
                turns = measured.turns[latency_s]
                conversations = [Conversation(a_world, caller, turns) for caller in callers[measured.flow]]
                cpu_s = _round(a_world, conversations, latency_s)
                measured.cpu_s += 0.0 if latency_s else cpu_s
    return quiet_cpu_s


def _round(a_world: World, conversations: list[Conversation], latency_s: float) -> float:
    """Let each of them take one turn, spread a little, for what begins at once waits for one another; Kav's CPU."""
    cpu_s = a_world.kav.cpu_s()
    for place, conversation in enumerate(conversations):
        a_world.loop.later(SPREAD_S * place / len(conversations), conversation.take_turn)
    a_world.loop.run((ROUND_S if not latency_s else 0.8 * ROUND_S) + 2 * latency_s)
    return a_world.kav.cpu_s() - cpu_s


def _print(table: Table, measured: Measured, latency_s: float) -> None:
    turns = measured.turns[latency_s]
    table.row(
        turn=f"{measured.flow.name:10}",
        model_ms=round(latency_s * 1000),
        turns=turns.count,
        round_trips=round(turns.trips, 2),
        p50=round(percentile(turns.first_audio_s, 0.5) * 1000, 2),
        p99=round(percentile(turns.first_audio_s, 0.99) * 1000, 2),
        kavs_own_p50=round(measured.own_ms(latency_s), 2),
    )


def _conclude(report: Report, unjudged: Measured, judged: Measured, quiet_cpu_s: float, refused: int) -> None:
    table = Table(report, "Kav's CPU for a turn, what calls cost besides taken off")
    for measured in (unjudged, judged):
        us, without = measured.turn_us(quiet_cpu_s), unjudged.turn_us(quiet_cpu_s)
        table.row(turn=f"{measured.flow.name:10}", us=round(us), ratio=round(us / without, 2))
    for measured in (unjudged, judged):
        name, trips = measured.flow.name, max(turns.trips for turns in measured.turns.values())
        report.promise(f"round trips, {name}", trips, measured.flow.trips, "a turn")
        own_ms = max(map(measured.own_ms, LATENCIES_S))
        report.promise(f"Kav's own part of the wait, p50, {name}", own_ms, OWN_LIMIT_MS)
    report.promise("what a model would have refused", refused, 0, "events")

"""How soon the bot begins: the greeting asked for, and its first audio passed on, with an idle Kav and a busy one.

The greeting may be asked for once the stream has started *and* the model has confirmed its configuration; in every
second call the model takes its time, so that either may be the last.
"""

from dataclasses import dataclass, replace

from bench.caller import Caller
from bench.model import Speech
from bench.report import Report, Table, spread_ms
from bench.world import World, world

LIMIT_MS = 50.0
LIVE = 50
CALLS = 60
QUICK_CALLS = 20
SLOW_UPDATE_S = 0.15
BETWEEN_S = 0.12


@dataclass(frozen=True, slots=True)
class FirstWord:
    """One call's beginning, in seconds."""

    request_s: float
    audio_s: float


def run(*, quick: bool) -> Report:
    report = Report("first-word")
    calls = QUICK_CALLS if quick else CALLS
    with world() as a_world:
        _conclude(report, _measure(a_world, calls), 1)
        a_world.model.speech = Speech()
        a_world.place(LIVE)
        a_world.until_talking()
        _conclude(report, _measure(a_world, calls), LIVE)
    return report


def _measure(a_world: World, calls: int) -> list[FirstWord]:
    """Place calls one after the other, and hang each up when it has said its first word."""
    found: list[FirstWord] = []
    for number in range(calls):
        a_world.model.speech = replace(a_world.model.speech, updated_after_s=SLOW_UPDATE_S * (number % 2))
        a_world.place(1)
        a_world.until_talking()
        caller = a_world.talking[-1]
        a_world.loop.run(BETWEEN_S)
        found.append(_first_word(a_world, caller))
        a_world.retire(caller)
        a_world.media(caller).stop()
    return found


def _first_word(a_world: World, caller: Caller) -> FirstWord:
    media, session = a_world.media(caller), a_world.model.by_call[caller.number]
    times = media.started_at, session.updated_at, session.requested_at, session.first_delta_at, media.first_audio_at
    started, updated, requested, delta, audio = (at if at is not None else float("nan") for at in times)
    return FirstWord(requested - max(started, updated), audio - delta)


def _conclude(report: Report, found: list[FirstWord], live: int) -> None:
    title = f"first word, ms, {live} live call{'s' if live > 1 else ''}"
    table = Table(report, title)
    request, audio = spread_ms([word.request_s for word in found]), spread_ms([word.audio_s for word in found])
    table.row(what="start and session.updated to response.create", **request)
    table.row(what="first delta to first frame at the caller    ", **audio)
    report.promise(f"greeting asked for, max, {live} live", request["max"], LIMIT_MS)
    report.promise(f"first audio passed on, max, {live} live", audio["max"], LIMIT_MS)

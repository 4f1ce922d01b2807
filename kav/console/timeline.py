"""The picture of a call over time: shapes with positions, which the template draws as SVG. Pure.

Two lanes, the caller above and the bot below; what was generated and never heard is drawn apart. Widths are in units
of the drawing, times in ms since the call's first stream began.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from kav.console.account import Account, Said

UNITS_PER_S: Final = 22.0
LEAST_WIDTH: Final = 1080.0
WIDEST: Final = 12_000.0
MARGIN: Final = 12.0
NARROWEST: Final = 2.0
"""What is said in a moment is still seen."""
TICKS_S: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300)
TICK_ROOM: Final = 70.0
FLAG_ROOM: Final = 14.0


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of speech."""

    kind: str
    """`caller`, `heard` or `discarded`."""
    x: float
    width: float
    number: int
    """The turn it belongs to."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at a moment."""

    kind: str
    """`barge_in`, `side_question`, `keys`, `language`, `tool` or `breach`."""
    x: float
    flag_x: float
    """Where its sign is: beside that of another which happened at about the same time."""
    at_ms: int
    label: str


@dataclass(frozen=True, slots=True)
class HeardSoFar:
    """A mark that Twilio sent back: the caller had heard the bot up to there."""

    x: float
    at_ms: int


@dataclass(frozen=True, slots=True)
class Tick:
    """A moment on the ruler."""

    x: float
    seconds: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """The whole picture."""

    width: float
    bars: tuple[Bar, ...]
    marks: tuple[Mark, ...]
    heard_so_far: tuple[HeardSoFar, ...]
    ticks: tuple[Tick, ...]


def timeline(told: Account) -> Timeline:
    """Draw a call."""
    length_ms = max(1000, told.length_ms, *(mark_ms for mark_ms in _moments(told)))
    width = min(WIDEST, max(LEAST_WIDTH, length_ms / 1000 * UNITS_PER_S + 2 * MARGIN))
    scale = (width - 2 * MARGIN) / length_ms

    def x(at_ms: float) -> float:
        return round(MARGIN + at_ms * scale, 1)

    bars = tuple(
        Bar(kind, x(begins), round(max(NARROWEST, (ends - begins) * scale), 1), turn.number)
        for turn in told.turns
        for kind, begins, ends in _stretches(turn)
    )
    events = sorted(_events(told), key=lambda event: event[1])
    marks = tuple(_flagged(Mark(kind, x(at_ms), x(at_ms), at_ms, label) for kind, at_ms, label in events))
    heard_so_far = tuple(HeardSoFar(x(at_ms), at_ms) for turn in told.turns for at_ms in turn.marks)
    every_s = next((step for step in TICKS_S if step * 1000 * scale >= TICK_ROOM), TICKS_S[-1])
    ticks = tuple(Tick(x(second * 1000), second) for second in range(0, length_ms // 1000 + 1, every_s))
    return Timeline(round(width, 1), bars, marks, heard_so_far, ticks)


def _flagged(marks: Iterable[Mark]) -> Iterator[Mark]:
    """Move the signs of marks that would hide one another apart."""
    free_from = 0.0
    for mark in marks:
        placed = replace(mark, flag_x=max(mark.x, free_from))
        free_from = placed.flag_x + FLAG_ROOM
        yield placed


def _stretches(turn: Said) -> Iterator[tuple[str, int, int]]:
    if turn.who == "caller":
        if turn.kind != "keys":
            yield "caller", turn.begins_ms, turn.ends_ms
        return
    if turn.heard_ms:
        yield "heard", turn.begins_ms, turn.cut_ms
    if turn.cut:
        yield "discarded", turn.cut_ms, turn.ends_ms


def _events(told: Account) -> Iterator[tuple[str, int, str]]:
    """Yield what happened: kind, ms, and a word about it."""
    for turn in told.turns:
        if turn.barge_in:
            yield "barge_in", turn.cut_ms, str(turn.number)
        if turn.judgement == "side_question":
            yield "side_question", turn.begins_ms, str(turn.number)
        if turn.kind == "keys":
            yield "keys", turn.begins_ms, turn.text
        if turn.switched:
            yield "language", turn.begins_ms, turn.language
    for tool in told.tools:
        yield "tool", tool["at_ms"] or 0, tool["name"] or ""
    for breach in told.breaches:
        yield "breach", breach["at_ms"] or 0, breach["what"] or ""


def _moments(told: Account) -> Iterator[int]:
    yield from (at_ms for _, at_ms, _ in _events(told))
    yield from (at_ms for turn in told.turns for at_ms in turn.marks)

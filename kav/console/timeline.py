"""The picture of a call over time: shapes with positions, which the template draws as SVG. Pure.

Five lanes, one above the other: what happened, the caller, the bot as heard, what of the bot nobody heard, and how far
Twilio confirmed it as played. No sign hides another, and nothing that was never heard lies over what was: where two
would meet, a lane has another row. Widths and heights are in units of the drawing, times in ms since the call's first
stream began.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from kav.console.account import Account, Said

LaneName = Literal["events", "caller", "heard", "discarded", "marks"]

UNITS_PER_S: Final = 16.0
LEAST_WIDTH: Final = 940.0
WIDEST: Final = 12_000.0
MARGIN: Final = 14.0
NARROWEST: Final = 2.0
"""What is said in a moment is still seen."""
TICKS_S: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300)
TICK_ROOM: Final = 70.0

SIGN_ROOM: Final = 20.0
"""From the middle of a sign to that of its neighbour."""
SIGN_ROWS: Final = 6
"""Signs stand above one another, each at its moment; where even these rows are full, one moves aside."""
BAR_ROWS: Final = 3
ROW: Final[Mapping[LaneName, float]] = {
    "events": SIGN_ROOM, "caller": 26.0, "heard": 26.0, "discarded": 20.0, "marks": 16.0,
}  # fmt: skip
"""Height of one row of each lane, from the top of the picture down."""
PADDING: Final = 4.0
GAP: Final = 6.0
RULER: Final = 24.0


@dataclass(frozen=True, slots=True)
class Lane:
    """A stripe of the picture."""

    name: LaneName
    y: float
    height: float

    @property
    def middle(self) -> float:
        """Where its name stands."""
        return self.y + self.height / 2


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of speech."""

    kind: LaneName
    """`caller`, `heard` or `discarded`."""
    x: float
    y: float
    width: float
    height: float
    number: int
    """The turn it belongs to."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at a moment."""

    kind: str
    """`barge_in`, `side_question`, `keys`, `language`, `tool` or `breach`."""
    x: float
    sign_x: float
    """Where the middle of its sign is: at its moment, or beside the sign that is there."""
    sign_y: float
    at_ms: int
    label: str


class HeardSoFar(NamedTuple):
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
    height: float
    lanes: tuple[Lane, ...]
    bars: tuple[Bar, ...]
    marks: tuple[Mark, ...]
    heard_so_far: tuple[HeardSoFar, ...]
    ticks: tuple[Tick, ...]

    @property
    def lane(self) -> Mapping[str, Lane]:
        """The lanes by their names."""
        return {lane.name: lane for lane in self.lanes}

    @property
    def strokes(self) -> str:
        """How far the bot was heard, as one path: a long call has thousands of marks."""
        lane = self.lane["marks"]
        top, height = lane.y + 5, lane.height - 10
        return "".join(f"M{mark.x} {top}v{height}" for mark in self.heard_so_far)


@dataclass(frozen=True, slots=True)
class Scale:
    """How long a time is, drawn, and where a moment is."""

    since_ms: int
    until_ms: int
    width: float
    """Of the whole picture."""
    per_ms: float

    @classmethod
    def of(cls, since_ms: int, until_ms: int) -> "Scale":
        """Return that of a stretch of time."""
        length_ms = max(1000, until_ms - since_ms)
        width = min(WIDEST, max(LEAST_WIDTH, length_ms / 1000 * UNITS_PER_S + 2 * MARGIN))
        return cls(since_ms, since_ms + length_ms, width, (width - 2 * MARGIN) / length_ms)

    def length(self, ms: float) -> float:
        """Return how long `ms` are."""
        return ms * self.per_ms

    def x(self, at_ms: float) -> float:
        """Return where a moment is; what was before the picture stands at its edge."""
        return round(MARGIN + max(0.0, at_ms - self.since_ms) * self.per_ms, 1)


def timeline(told: Account, since_ms: int = 0) -> Timeline:
    """Draw a call, from `since_ms` on."""
    events = sorted(_events(told), key=lambda event: event[1])
    scale = Scale.of(since_ms, max((told.length_ms, *_moments(told, events))))
    signs = list(_signs(events, scale))
    stretches = list(_stretches(told, scale))
    rows = {
        "events": max((row for *_, row in signs), default=0),
        "discarded": max((row for *_, row in stretches), default=0),
    }
    lanes = {lane.name: lane for lane in _lanes(rows)}
    marks = tuple(
        Mark(kind, scale.x(at_ms), x, _row_y(lanes["events"], rows["events"] - row), at_ms, label)
        for (kind, at_ms, label), x, row in signs
    )
    return Timeline(
        width=round(max(scale.width, *(mark.sign_x + MARGIN for mark in marks), 0), 1),
        height=lanes["marks"].y + lanes["marks"].height + RULER,
        lanes=tuple(lanes.values()),
        bars=tuple(_bar(lanes[kind], x, width, number, row) for kind, x, width, number, row in stretches),
        marks=marks,
        heard_so_far=tuple(HeardSoFar(scale.x(at_ms), at_ms) for turn in told.turns for at_ms in turn.marks),
        ticks=tuple(_ticks(scale)),
    )


def _lanes(rows: Mapping[str, int]) -> Iterator[Lane]:
    """`rows`: the number of the last row of a lane that has several."""
    y = 0.0
    for name, height in ROW.items():
        lane = Lane(name, y, (rows.get(name, 0) + 1) * height + 2 * PADDING)
        yield lane
        y += lane.height + GAP


def _row_y(lane: Lane, row: int) -> float:
    """Return where the middle of a row is."""
    return lane.y + PADDING + (row + 0.5) * ROW[lane.name]


def _bar(lane: Lane, x: float, width: float, number: int, row: int) -> Bar:
    height = ROW[lane.name] - 2
    return Bar(lane.name, x, _row_y(lane, row) - height / 2, width, height, number)


def _ticks(scale: Scale) -> Iterator[Tick]:
    every_s = next((step for step in TICKS_S if scale.length(step * 1000) >= TICK_ROOM), TICKS_S[-1])
    first = -(-scale.since_ms // (1000 * every_s)) * every_s
    for second in range(first, scale.until_ms // 1000 + 1, every_s):
        yield Tick(scale.x(second * 1000), second)


# What is said


def _stretches(told: Account, scale: Scale) -> Iterator[tuple[LaneName, float, float, int, int]]:
    """Yield the bars: lane, x, width, turn, and the row in which it lies over no other."""
    free_from = [0.0] * BAR_ROWS
    for turn in told.turns:
        for kind, begins, ends in _parts(turn):
            x, width = scale.x(begins), round(max(NARROWEST, scale.length(ends - begins)), 1)
            row = _row(free_from, x) if kind == "discarded" else 0
            if kind == "discarded":
                free_from[row] = x + width
            yield kind, x, width, turn.number, row


def _parts(turn: Said) -> Iterator[tuple[LaneName, int, int]]:
    if turn.who == "caller":
        if turn.kind != "keys":
            yield "caller", turn.begins_ms, turn.ends_ms
        return
    if turn.heard_ms:
        yield "heard", turn.begins_ms, turn.cut_ms
    if turn.cut:
        yield "discarded", turn.cut_ms, turn.ends_ms


def _row(free_from: list[float], x: float) -> int:
    """Return the first row that is free at `x`; where none is, that which will be first."""
    free = (row for row, end in enumerate(free_from) if end <= x)
    return next(free, free_from.index(min(free_from)))


# What happened

Event = tuple[str, int, str]
"""Kind, ms, and a word about it."""


def _signs(events: Iterable[Event], scale: Scale) -> Iterator[tuple[Event, float, int]]:
    """Yield where the sign of each event is: x, and the row, counted from the lowest."""
    free_from = [0.0] * SIGN_ROWS
    for event in events:
        x = scale.x(event[1])
        row = _row(free_from, x)
        x = max(x, free_from[row])
        free_from[row] = x + SIGN_ROOM
        yield event, x, row


def _events(told: Account) -> Iterator[Event]:
    """Yield what happened."""
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


def _moments(told: Account, events: Iterable[Event]) -> Iterator[int]:
    yield from (at_ms for _, at_ms, _ in events)
    yield from (at_ms for turn in told.turns for at_ms in turn.marks)

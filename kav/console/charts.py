"""A day's calls by the hour, as bars with positions. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

HOURS: Final = 24
HEIGHT: Final = 100.0
PITCH: Final = 26.0
WIDTH: Final = 20.0


@dataclass(frozen=True, slots=True)
class Hour:
    """One bar: `x`, `y` and heights in units of the drawing; calls that go on stand on top of those that ended."""

    hour: int
    calls: int
    going_on: int
    x: float
    y: float
    height: float
    going_on_height: float

    @property
    def ended(self) -> int:
        """How many of the hour's calls are over."""
        return self.calls - self.going_on


def hours(began: Sequence[datetime], going_on: Sequence[datetime] = ()) -> tuple[Hour, ...]:
    """Return a bar for each hour of the day in which calls began (in the zone that they are in).

    `going_on`: when those of them began that go on.
    """
    by_hour, without_end = Counter(at.hour for at in began), Counter(at.hour for at in going_on)
    unit = HEIGHT / max(by_hour.values(), default=1)
    return tuple(_bar(hour, by_hour[hour], min(by_hour[hour], without_end[hour]), unit) for hour in range(HOURS))


def _bar(hour: int, calls: int, going_on: int, unit: float) -> Hour:
    x, height, on_top = hour * PITCH + (PITCH - WIDTH) / 2, calls * unit, going_on * unit
    return Hour(hour, calls, going_on, round(x, 1), round(HEIGHT - height, 1), round(height, 1), round(on_top, 1))

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
    """One bar: `x`, `y` and `height` in units of the drawing."""

    hour: int
    calls: int
    x: float
    y: float
    height: float


def hours(began: Sequence[datetime]) -> tuple[Hour, ...]:
    """Return a bar for each hour of the day in which calls began (in the zone that they are in)."""
    by_hour = Counter(at.hour for at in began)
    most = max(by_hour.values(), default=1)
    heights = [round(by_hour[hour] / most * HEIGHT, 1) for hour in range(HOURS)]
    return tuple(
        Hour(hour, by_hour[hour], round(hour * PITCH + (PITCH - WIDTH) / 2, 1), HEIGHT - height, height)
        for hour, height in enumerate(heights)
    )

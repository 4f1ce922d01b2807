"""A day's calls by the hour, as bars with positions. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

HOURS: Final = 24
QUARTER: Final = timedelta(minutes=15)
"""No zone of today's is apart from UTC by a part of one."""

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


def hours(calls: Sequence[int], going_on: Sequence[int]) -> tuple[Hour, ...]:
    """Return a bar for each hour of the day: how many calls began in it, and how many of those go on."""
    unit = HEIGHT / max(1, *calls)
    return tuple(_bar(hour, calls[hour], min(calls[hour], going_on[hour]), unit) for hour in range(HOURS))


def hour_begins(since: datetime, until: datetime, zone: tzinfo) -> tuple[tuple[datetime, int], ...]:
    """Return the moments in [since, until) at which an hour of `zone` begins, each with its number on the clock.

    The first is `since` itself. Where clocks are put back an hour is there twice, where they are put forward one lacks.
    """
    moment, begins = since.astimezone(UTC), [(since, since.astimezone(zone).hour)]
    while (moment := moment + QUARTER) < until:
        hour = moment.astimezone(zone).hour
        if hour != begins[-1][1]:
            begins.append((moment, hour))
    return tuple(begins)


def _bar(hour: int, calls: int, going_on: int, unit: float) -> Hour:
    x, height, on_top = hour * PITCH + (PITCH - WIDTH) / 2, calls * unit, going_on * unit
    return Hour(hour, calls, going_on, round(x, 1), round(HEIGHT - height, 1), round(height, 1), round(on_top, 1))

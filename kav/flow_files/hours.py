"""Opening hours: a time zone, and for each day its spans.

hours:
  timezone: Asia/Jerusalem
  sun-thu: 08:00-19:00
  fri: [08:00-11:00, 11:30-13:00]
"""

import re
from functools import lru_cache
from itertools import pairwise
from typing import Final
from zoneinfo import available_timezones

from kav.call.flow import Hours
from kav.flow_files.document import Items, Node, Scalar
from kav.flow_files.faults import instead
from kav.flow_files.section import Section

DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_SPAN: Final = re.compile(r"(\d{1,2}):(\d\d)\s*[-\u2013]\s*(\d{1,2}):(\d\d)")
_LONGEST_DAY: Final = 24 * 60


def read_hours(section: Section | None) -> Hours | None:
    """Return the opening hours, every day with its spans in order; a day that is closed has none."""
    if section is None:
        return None
    zone = _zone(section)
    days: dict[str, tuple[str, ...]] = {}
    named = [key for key in section.entries.nodes if key != "timezone"]
    for key in named:
        _take(section, key, days)
    if not named:
        section.fault("sun", "no day is named", "write e.g. `sun-thu: 08:00-18:00`")
    return Hours(zone, {day: days.get(day, ()) for day in DAYS})


def _zone(section: Section) -> str:
    section.require("timezone", "name the place that the hours are meant for, e.g. `timezone: Asia/Jerusalem`")
    zone = section.text("timezone")
    if zone and zone not in _zones():
        section.fault("timezone", f"there is no time zone `{zone}`", _nearest(zone))
    return zone


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _nearest(zone: str) -> str:
    if not _zones():
        return "this machine knows no time zones: install its tzdata package"
    by_lower = {name.lower(): name for name in sorted(_zones())}
    said = instead(zone, by_lower) if zone else ""
    close = said.partition("`")[2].partition("`")[0]
    return f"did you mean `{by_lower[close]}`" if close in by_lower else "write it like Asia/Jerusalem"


def _take(section: Section, key: str, days: dict[str, tuple[str, ...]]) -> None:
    """Read the spans of one day or of a run of days (`sun-thu`)."""
    node = section.node(key)
    named = _days(key)
    if not named:
        section.fault(key, "this is no day", f"use {', '.join(DAYS)}, or a run of them such as sun-thu")
        return
    twice = [day for day in named if day in days]
    if twice:
        section.fault(key, f"{', '.join(twice)} has its hours already", "name each day once")
    days.update(dict.fromkeys(named, () if _is_closed(node) else _spans(section, key)))


def _is_closed(node: Node | None) -> bool:
    return node.text.strip() == "closed" if isinstance(node, Scalar) else isinstance(node, Items) and not node.nodes


def _days(key: str) -> tuple[str, ...]:
    first, dash, last = (part.strip() for part in key.partition("-"))
    if first not in DAYS or (dash and last not in DAYS):
        return ()
    begin = DAYS.index(first)
    length = (DAYS.index(last or first) - begin) % len(DAYS) + 1
    return (DAYS + DAYS)[begin : begin + length]


def _spans(section: Section, key: str) -> tuple[str, ...]:
    spans = sorted(span for word in section.words(key) if (span := _minutes(section, key, word)))
    for (_, ends), (begins, _) in pairwise(spans):
        if begins < ends:
            section.fault(key, f"two spans overlap at {_clock(begins)}", "join them, or part them")
    return tuple(f"{_clock(begins)}-{_clock(ends)}" for begins, ends in spans)


def _minutes(section: Section, key: str, word: Scalar) -> tuple[int, int] | None:
    """Return a span as minutes of the day, or None after noting what is wrong with it."""
    found = _SPAN.fullmatch(word.text.strip())
    if not found:
        section.fault(key, f"`{word.text}` are no hours", "write them like 08:00-18:00, or `closed`", word.line)
        return None
    from_hour, from_minute, to_hour, to_minute = (int(part) for part in found.groups())
    begins, ends = from_hour * 60 + from_minute, to_hour * 60 + to_minute
    if max(from_minute, to_minute) > 59 or max(begins, ends) > _LONGEST_DAY:
        section.fault(key, f"`{word.text}` is no time of day", "use 00:00 to 24:00", word.line)
        return None
    if begins >= ends:
        remedy = f"hours past midnight go on the next day: {_clock(begins)}-24:00 and, there, 00:00-{_clock(ends)}"
        section.fault(key, f"`{word.text}` ends before it begins", remedy, word.line)
        return None
    return begins, ends


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"

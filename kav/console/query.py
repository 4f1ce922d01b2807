"""What a reader asks of the list of calls, out of a URL; what cannot be understood is left out. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Final

from kav.dialling import NotDialableError, e164
from kav.records import CallFilter

MAX_CHARS: Final = 128
DIRECTIONS: Final = ("inbound", "outbound")
LINES: Final = ("twilio", "browser")


@dataclass(frozen=True, slots=True)
class CallQuery:
    """The filters, as they were written."""

    business: str = ""
    direction: str = ""
    number: str = ""
    end_reason: str = ""
    line: str = ""
    since: str = ""
    until: str = ""

    @classmethod
    def of(cls, asked: Mapping[str, str]) -> "CallQuery":
        """Read the filters of a URL."""
        return cls(**{name: asked.get(name, "").strip()[:MAX_CHARS] for name in cls.__dataclass_fields__})

    @property
    def given(self) -> dict[str, str]:
        """The filters that are set, for a URL."""
        return {name: value for name in self.__dataclass_fields__ if (value := getattr(self, name))}

    def wanted(self, zone: tzinfo, region: str) -> CallFilter:
        """Return the filter: days are those of `zone`, numbers may be written as in `region`."""
        since, until = day_of(self.since), day_of(self.until)
        return CallFilter(
            business=self.business or None,
            direction=self.direction if self.direction in DIRECTIONS else None,
            number=_number(self.number, region) or None,
            end_reason=self.end_reason or None,
            line=self.line if self.line in LINES else None,
            since=begin_of(since, zone) if since else None,
            until=begin_of(until + timedelta(days=1), zone) if until else None,
        )


def day_of(written: str) -> date | None:
    """Return a day written as YYYY-MM-DD, or None."""
    try:
        found = date.fromisoformat(written)
    except ValueError:
        return None
    return found if date.min < found < date(9000, 1, 1) else None


def begin_of(day: date, zone: tzinfo) -> datetime:
    """Return the moment in which a day begins."""
    return datetime.combine(day, time(), zone)


def _number(written: str, region: str) -> str:
    try:
        return e164(written, region) if written else ""
    except NotDialableError:
        return written  # a `sip:` address, or somebody who is anonymous

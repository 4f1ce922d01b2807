"""Figures, names and moments in the reader's language, as all pages write them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from typing import Any, Final

from kav.console.texts import Texts

MICRO: Final = 1_000_000
MINUTE_S: Final = 60
HOUR_S: Final = 3600
UNKNOWN: Final = "–"
SMALL_USD: Final = 0.01
AT_LEAST: Final = "\u2066≥ {}\u2069"
"""An amount that is not all; isolated, for among Hebrew words the sign would be turned round (Unicode, UAX 9)."""

TONES: Final[Mapping[str, frozenset[str]]] = {
    "good": frozenset({"goodbye", "transferred", "call_status_completed"}),
    "warn": frozenset({"silence", "max_duration", "machine", "operator", "call_status_busy", "call_status_no-answer"}),
    "bad": frozenset({"model_failed", "error", "socket_lost", "no_media", "write_stalled", "call_status_failed"}),
}


RULINGS: Final = (
    (re.compile(r"called (.+)", re.DOTALL), "called"),
    (re.compile(r"answered (.+) before it was asked", re.DOTALL), "too_soon"),
    (re.compile(r"answered (.+)", re.DOTALL), "not_asked"),
    (re.compile(r"invalid value for (.+)", re.DOTALL), "invalid"),
    (re.compile(r"corrected no answer()"), "no_answer"),
)
"""How the flow's lock puts why it refused a judgement, what it names, and the key of the console's own words."""


@dataclass(frozen=True, slots=True)
class Words:
    """How one reader is told things: in their language, in the business's time zone."""

    texts: Texts
    language: str
    zone: tzinfo

    def text(self, key: str, /, **values: object) -> str:
        """Return one of the console's texts."""
        return self.texts.text(self.language, key, **values)

    def name(self, group: str, word: str | None) -> str:
        """Return what people call `word`."""
        return self.texts.name(self.language, group, word) if word else UNKNOWN

    def answer(self, kind: str, value: str) -> str:
        """Return an answer as people say it: a yes or no is put down as `yes`, `no`, whatever was spoken."""
        return self.texts.name(self.language, "yes_no", value) if kind == "yes_no" else value

    def breach(self, what: str | None, detail: str | None) -> tuple[str, str]:
        """Return what a breach's detail says, and the name in it: a step's, a tool's or a phrase's."""
        if what == "wrong language":
            return self.name("languages", detail), ""
        for ruling, key in RULINGS if what == "judge" else ():
            if found := ruling.fullmatch(detail or ""):
                return self.text(f"ruling.{key}"), found[1]
        return "", detail or ""

    def party(self, number: str | None, line: str = "twilio") -> str:
        """Return who the other party is."""
        if line == "browser" or number == "browser":
            return self.text("party.browser")
        return number or self.text("party.unknown")

    def step(self, position: int, steps: int) -> str:
        """Return where in the script a call is; the position counts from 1, and is 0 when all was asked."""
        if not steps:
            return self.text("step.none")
        return self.text("step.at", position=position, steps=steps) if position else self.text("step.done")

    def money(self, micro_usd: int | None, partial: bool | None = None) -> str:
        """Return an amount in dollars; fractions of a cent are shown, for a short call costs no more.

        `partial`: true where it is that of a part alone.
        """
        if micro_usd is None:
            return UNKNOWN
        usd = micro_usd / MICRO
        return _at_least(f"${usd:.4f}" if 0 < usd < SMALL_USD else f"${usd:,.2f}", partial)

    def price(self, micro_usd: int | None, partial: bool | None = None) -> str:
        """Return an amount as a column of them has it: every point beneath the one above; `partial` as above."""
        return UNKNOWN if micro_usd is None else _at_least(f"${micro_usd / MICRO:,.3f}", partial)

    def clock(self, seconds: float | None) -> str:
        """Return a length of time as m:ss or h:mm:ss."""
        if seconds is None:
            return UNKNOWN
        whole = round(seconds)
        hours, rest = divmod(whole, HOUR_S)
        minutes, left = divmod(rest, MINUTE_S)
        return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"

    def ms(self, milliseconds: float | None) -> str:
        """Return a short time in milliseconds, or in seconds where it is long."""
        return " ".join(self.quantity(milliseconds)).rstrip()

    def quantity(self, milliseconds: float | None) -> tuple[str, str]:
        """Return the same as a number and its unit."""
        if milliseconds is None:
            return UNKNOWN, ""
        if milliseconds < 1000:
            return f"{milliseconds:.1f}" if 0 < milliseconds < 10 else f"{milliseconds:.0f}", self.text("unit.ms")
        return f"{milliseconds / 1000:.1f}", self.text("unit.s")

    def seconds(self, milliseconds: float | None) -> str:
        """Return a short time as a column of them has it, whose heading names the unit: in seconds, with two places."""
        return UNKNOWN if milliseconds is None else f"{milliseconds / 1000:.2f}"

    def moments(self, milliseconds: Iterable[int]) -> str:
        """Return several moments, in seconds."""
        return ", ".join(f"{ms / 1000:.2f}" for ms in milliseconds) or UNKNOWN

    def day(self, day: date) -> str:
        """Return a day as people name it."""
        weekday, month = self.text(f"weekday.{day.weekday()}"), self.text(f"month.{day.month}")
        return self.text("date", weekday=weekday, day=day.day, month=month, year=day.year)

    def moment(self, at: datetime | None) -> str:
        """Return a date and a time of day."""
        return at.astimezone(self.zone).strftime("%d.%m.%Y %H:%M:%S") if at else UNKNOWN

    def short_moment(self, at: datetime | None) -> str:
        """Return a date and a time of day as a list has room for."""
        return at.astimezone(self.zone).strftime("%d.%m.%y %H:%M") if at else UNKNOWN

    def lasted(self, call: Mapping[str, Any]) -> float | None:
        """Return how many seconds a call on record lasted: as Twilio says, or as Kav has seen it."""
        if call.get("duration_s") is not None:
            return float(call["duration_s"])
        began, ended = call.get("created_at"), call.get("ended_at")
        return (ended - began).total_seconds() if began and ended else None

    def tone(self, end_reason: str | None) -> str:
        """Return whether an end was as it should be, for its colour; a word says the same."""
        return next((tone for tone, reasons in TONES.items() if end_reason in reasons), "")

    def known(self, value: Any) -> str:  # noqa: ANN401 - whatever a record holds
        """Return a value, or the sign that there is none."""
        return UNKNOWN if value is None or value == "" else str(value)


def _at_least(amount: str, partial: bool | None) -> str:
    return AT_LEAST.format(amount) if partial else amount

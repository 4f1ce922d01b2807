"""Whether a value answers a step, and how it is kept: pure, and strict enough that a record can be relied on.

The model is told to give dates as YYYY-MM-DD, times as HH:MM, numbers in digits and yes or no as `yes`, `no`; what the
caller said is never rewritten, only read.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, time
from typing import Final

from kav.call.admission import is_withheld
from kav.call.audit import plain
from kav.call.flow import AnswerKind, Step

MAX_ANSWER: Final = 500
"""Characters of one answer that are kept; more is no answer to a question on the telephone."""

SHORTEST_PHONE, LONGEST_PHONE = 7, 15
"""Digits of a telephone number (E.164 allows 15)."""

_E164: Final = rf"\+[1-9][0-9]{{{SHORTEST_PHONE - 1},{LONGEST_PHONE - 1}}}"
"""A number that can be called from anywhere; what else a call may come from (`sip:`, `client:`) is no answer."""

_LARGEST: Final = 10**MAX_ANSWER

_YES_NO: Final = {
    **dict.fromkeys(("yes", "y", "true", "כן", "نعم", "да"), "yes"),
    **dict.fromkeys(("no", "n", "false", "לא", "لا", "нет"), "no"),
}


@dataclass(frozen=True, slots=True)
class Accepted:
    """The value as it is kept."""

    value: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why a value is no answer, in words for the model."""

    why: str


def yes_or_no(value: str) -> str | None:
    """Return `yes` or `no` for a bare yes or no in a language that Kav knows, else None."""
    return _YES_NO.get(value.strip().strip(".,!").lower())


def check(step: Step, value: object, caller_number: str = "") -> Accepted | Rejected:
    """Say whether `value` answers `step`; `caller_number` is what the call came from, or went to."""
    if step.kind == "phone" and isinstance(value, int | float) and not isinstance(value, bool):
        return Rejected("give the number as text, with its leading zero")  # 501234567 has lost it
    text = _text(value)
    if not text:
        return Rejected("the value is empty: give what the caller said")
    if len(text) > MAX_ANSWER:
        return Rejected(f"the value is longer than {MAX_ANSWER} characters: give only the answer")
    if step.default_caller_id and text == "caller_id":
        return _caller_id(caller_number)
    return _CHECKS[step.kind](step, text)


def _caller_id(number: str) -> Accepted | Rejected:
    """Take the number of the call itself, if it is one that can be called back."""
    if re.fullmatch(_E164, number) and not is_withheld(number):
        return Accepted(number)
    return Rejected("the caller's number is not known: ask for it")


def _text(value: object) -> str:
    """Return a value as one line of text; without lone surrogates, which JSON may escape and nothing can store."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < _LARGEST):
        return str(value)
    return " ".join(value.encode(errors="ignore").decode().split()) if isinstance(value, str) else ""


def _in_western_digits(text: str) -> str:
    """Return a text with its digits as 0-9, whichever script they were written in: ٣ is 3."""
    return "".join(str(unicodedata.decimal(character, character)) for character in text)


def _any(_: Step, text: str) -> Accepted | Rejected:
    return Accepted(text)


def _letters(_: Step, text: str) -> Accepted | Rejected:
    if any(character.isalpha() for character in text):
        return Accepted(text)
    return Rejected("a name has letters: ask again")


def _choice(step: Step, text: str) -> Accepted | Rejected:
    meant = [choice for choice in step.choices if choice.casefold() == text.casefold()][:1] or _named(step, text)
    return Accepted(meant[0]) if len(meant) == 1 else Rejected(f"the value must be one of: {', '.join(step.choices)}")


def _named(step: Step, text: str) -> list[str]:
    """Return the choices that a text may stand for: the one with its very words, else those that have all of them.

    A text with more words than a choice stands for none: they may say that it is another one.
    """
    said = plain(text).split()
    words = {choice: plain(choice).split() for choice in step.choices if said}
    same = [choice for choice, its in words.items() if its == said]
    return same or [choice for choice, its in words.items() if set(said) <= set(its)]


def _yes_no(_: Step, text: str) -> Accepted | Rejected:
    said = yes_or_no(text)
    return Accepted(said) if said is not None else Rejected("the value must be yes or no")


def _number(_: Step, text: str) -> Accepted | Rejected:
    plain = _in_western_digits(text).replace(",", "")
    return (
        Accepted(plain) if re.fullmatch(r"-?\d+(\.\d+)?", plain) else Rejected("the value must be a number in digits")
    )


def _phone(_: Step, text: str) -> Accepted | Rejected:
    plain = re.sub(r"[\s().-]", "", _in_western_digits(text))
    if re.fullmatch(rf"\+?\d{{{SHORTEST_PHONE},{LONGEST_PHONE}}}", plain):
        return Accepted(plain)
    return Rejected(f"a telephone number has {SHORTEST_PHONE} to {LONGEST_PHONE} digits: ask for all of them")


def _date(_: Step, text: str) -> Accepted | Rejected:
    try:
        return Accepted(date.fromisoformat(text).isoformat())
    except ValueError:
        return Rejected("the value must be a date as YYYY-MM-DD that exists")


def _time(_: Step, text: str) -> Accepted | Rejected:
    padded = f"0{text}" if text[1:2] == ":" else text
    try:
        return Accepted(time.fromisoformat(padded).strftime("%H:%M"))
    except ValueError:
        return Rejected("the value must be a time of day as HH:MM, 24 hours")


_CHECKS: Final[dict[AnswerKind, Callable[[Step, str], Accepted | Rejected]]] = {
    "text": _any,
    "address": _any,
    "name": _letters,
    "choice": _choice,
    "yes_no": _yes_no,
    "number": _number,
    "phone": _phone,
    "date": _date,
    "time": _time,
}

"""Whom Kav may call, and when: numbers as people write them, hours, what machine detection found. Values in and out.

e164("050-123 4567", "IL")     -> "+972501234567", or NotDialableError
"""

from datetime import datetime
from typing import Final, Literal
from zoneinfo import ZoneInfo

import phonenumbers

from kav.call.flow import Hours

MAX_WRITTEN: Final = 40
"""Characters of a number as somebody writes it: the longest is `tel:+` and 15 digits, each with a space."""

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""As `datetime.weekday` counts them."""

_REFUSED_TYPES: Final = (phonenumbers.PhoneNumberType.PREMIUM_RATE,)
"""A bot that is told to ring numbers that are paid by the minute is somebody's theft."""

AnsweredBy = Literal["person", "machine", "fax"]


class NotDialableError(ValueError):
    """A number that Kav does not call; the message says why, and how to write it."""


def e164(written: str, region: str) -> str:
    """Return a number in E.164 form, whatever common form it is written in.

    Args:
        written: with or without country, with spaces, dashes, dots, brackets or `tel:`.
        region: where a number without a country is meant to be, ISO 3166 (`IL`).

    Raises:
        NotDialableError: it is no telephone number, has too few digits or too many, or is one that Kav refuses. Whether
            somebody has it is left to the network, for lists of that are always out of date.
    """
    how = "write it like +972501234567, or as it is dialled at home"
    if len(written) > MAX_WRITTEN:
        raise NotDialableError(f"a telephone number has no {len(written)} characters; {how}")
    try:
        number = phonenumbers.parse(written, region)
    except phonenumbers.NumberParseException:
        raise NotDialableError(f"{written!r} is no telephone number; {how}") from None
    if number.extension:
        raise NotDialableError(f"{written!r} has an extension, which Kav cannot dial; leave it out")
    if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
        raise NotDialableError(f"{written!r} has too few digits or too many; {how}")
    if phonenumbers.number_type(number) in _REFUSED_TYPES:
        raise NotDialableError(f"{written!r} is a premium-rate number, and Kav calls none; give another")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def is_region(region: str) -> bool:
    """Whether `region` is a country that numbers may be meant to be in."""
    return region in phonenumbers.SUPPORTED_REGIONS


def is_open(hours: Hours | None, at: datetime) -> bool:
    """Whether the business is open at `at` (aware of its time zone); one that names no hours always is."""
    if hours is None:
        return True
    there = at.astimezone(ZoneInfo(hours.timezone))
    minute = f"{there:%H:%M}"
    spans = (span.split("-") for span in hours.days.get(WEEKDAYS[there.weekday()], ()))
    return any(begins <= minute < ends for begins, ends in spans)


def answered_by(told: str) -> AnsweredBy:
    """Return who took the call, from Twilio's `AnsweredBy`; whoever it is not sure of is a person."""
    if told.startswith("machine"):
        return "machine"
    return "fax" if told == "fax" else "person"

"""Telephone numbers of a flow file: E.164 alone (+972312345678), for that is what Twilio sends and is told.

A number in another form is refused, and the remedy is its E.164 form wherever that cannot be mistaken.
"""

import re
from typing import Final

E164: Final = re.compile(r"\+[1-9]\d{6,14}")
_TRUNK_ZERO: Final = re.compile(r"\+972(0|\(0\))")
_WRITTEN: Final = re.compile(r"[\s().\-\u2010-\u2015]")


def remedy(number: str) -> str | None:
    """Return what to write instead of `number`, or None when it is right."""
    if E164.fullmatch(number) and not _TRUNK_ZERO.match(number):
        return None
    meant = _meant(number)
    if meant and E164.fullmatch(meant):
        return f"write {meant}"
    national = _digits(number)
    if re.fullmatch(r"0[2-9]\d{7,8}", national):
        return f"write the number with its country, in Israel +972{national[1:]}"
    return "write the whole number with + and its country, like +972312345678"


def _meant(number: str) -> str | None:
    """Return the E.164 form of an international number, however it was grouped; None when no country is named."""
    digits = _digits(number.replace("(0)", ""))
    if digits.startswith("00"):
        digits = "+" + digits[2:]
    elif re.fullmatch(r"972\d{8,9}", digits):
        digits = "+" + digits
    return re.sub(r"^\+9720", "+972", digits) if digits.startswith("+") else None


def _digits(number: str) -> str:
    visible = "".join(character for character in number if character.isprintable())
    return _WRITTEN.sub("", visible)

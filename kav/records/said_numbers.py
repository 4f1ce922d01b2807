"""Calls in which somebody's number was said, keyed or answered in figures: found however it was written, and only it.

What is found is erased for good, so nine digits in a row are not enough: they may be an order's, a card's or, in
Israel, a person's id. A number counts with its trunk prefix or its country code, or where it has ten digits of its own.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

import phonenumbers
from sqlalchemy import Column, ColumnElement, Connection, func, select, true

from kav.records.models import ANSWERS, BREACHES, CALLS, TOOL_CALLS, TURNS

SEPARATORS: Final = " -.(),/_\t\n\u00a0\u05be\u2010\u2011\u2013\u200e\u200f"
"""What people, and transcribers, write between the digits of a number."""

SELF_EVIDENT: Final = 10
"""Digits of a national number that is nothing else even without a prefix."""


def calls_with(connection: Connection, number: str) -> set[str]:
    """Return the calls in whose words `number` (E.164) stands; of a bot's turns, which are the business's, none."""
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return set()
    national = phonenumbers.national_significant_number(parsed)
    written = pattern_of(str(parsed.country_code), national)
    return {call_sid for call_sid, text in _candidates(connection, national) if written.search(text)}


def pattern_of(country: str, national: str) -> re.Pattern[str]:
    """Return what matches a number however it is written: 050-123 4567, +972 (0)50 1234567, 00972501234567."""
    between = f"[{re.escape(SEPARATORS)}]{{0,3}}"
    with_country = rf"(?:\+|00)?{between}{between.join(country)}{between}0?"
    prefix = f"(?:{with_country}|0)" + ("?" if len(national) >= SELF_EVIDENT else "")
    return re.compile(rf"(?<!\d){prefix}{between}{between.join(national)}(?!\d)", re.ASCII)


def _candidates(connection: Connection, national: str) -> Iterator[tuple[str, str]]:
    """Yield each text that holds the digits in a row, whatever stands around them, and its call."""
    places = (
        (ANSWERS.c.value, true()),
        (TURNS.c.text, TURNS.c.who == "caller"),
        (TOOL_CALLS.c.arguments, true()),
        (TOOL_CALLS.c.output, true()),
        (BREACHES.c.detail, true()),
        (CALLS.c.summary, true()),
        (CALLS.c.extracted, true()),
    )
    for column, belongs in places:
        query = select(column.table.c.call_sid, column).where(belongs, _bare(column).like(f"%{national}%"))
        yield from ((row[0], row[1]) for row in connection.execute(query))


def _bare(column: Column[Any]) -> ColumnElement[str]:
    bare: ColumnElement[str] = column
    for separator in SEPARATORS:
        bare = func.replace(bare, separator, "")
    return bare

"""What is asked of the records: one call with all it brought, and the list of calls, page by page.

A page begins where the one before it ended (keyset paging): no call is shown twice or left out while new ones come in,
and the thousandth page costs what the first one does.
"""

import base64
import binascii
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TypedDict

from sqlalchemy import ColumnElement, Connection, Table, exists, literal, or_, select, tuple_

from kav.records import cleaning
from kav.records.errors import InvalidCursorError
from kav.records.figures import CUSTOMERS
from kav.records.models import (
    ANSWERS,
    BREACHES,
    CALLS,
    NUMBER_CHARS,
    RECORDINGS,
    SID_CHARS,
    STREAMS,
    TOOL_CALLS,
    TURNS,
    USAGE,
    WORD_CHARS,
    UtcMillis,
)

Row = dict[str, Any]
MAX_PAGE = 500

_ORDER: dict[Table, tuple[ColumnElement[Any], ...]] = {
    STREAMS: (STREAMS.c.opened_at, STREAMS.c.stream_sid),
    TURNS: (TURNS.c.number,),
    ANSWERS: (ANSWERS.c.position, ANSWERS.c.step),
    BREACHES: (BREACHES.c.number,),
    TOOL_CALLS: (TOOL_CALLS.c.at_ms, TOOL_CALLS.c.call_id),
    USAGE: (USAGE.c.model,),
    RECORDINGS: (RECORDINGS.c.recording_sid,),
}


class CallFilter(TypedDict, total=False):
    """Which calls are listed; what is absent, None or empty leaves nothing out."""

    business: str | None
    direction: str | None
    number: str | None
    """The caller's or the one who is called, whole, as it is stored."""
    end_reason: str | None
    line: str | None
    """`browser`: tests from the console's own page; `twilio`: all others."""
    since: datetime | None
    """Created then or later; time zone aware."""
    until: datetime | None
    """Created before that."""


def get_call(connection: Connection, call_sid: str) -> Row | None:
    """One call with its `streams`, `turns`, `answers`, `breaches`, `tool_calls`, `usage` and `recordings`; or None."""
    key = cleaning.key(call_sid, SID_CHARS)
    call = connection.execute(select(CALLS).where(CALLS.c.call_sid == key)).mappings().one_or_none()
    if call is None:
        return None
    return {**call} | {table.name: _rows_of(connection, table, key) for table in _ORDER}


def _rows_of(connection: Connection, table: Table, call_sid: str) -> list[Row]:
    query = select(table).where(table.c.call_sid == call_sid).order_by(*_ORDER[table])
    return [dict(row) for row in connection.execute(query).mappings()]


def has_recording(connection: Connection, recording_sid: str) -> bool:
    """Whether a recording of one of these calls has this sid."""
    key = cleaning.key(recording_sid, SID_CHARS)
    return bool(connection.execute(select(exists().where(RECORDINGS.c.recording_sid == key))).scalar_one())


def list_calls(connection: Connection, limit: int = 50, after: str = "", wanted: CallFilter | None = None) -> list[Row]:
    """The newest calls first, at most `limit`, those that follow the cursor `after` when it is given.

    Raises InvalidCursorError for a cursor that `next_cursor` did not make.
    """
    conditions = list(_conditions(wanted or {}))
    if after:
        created_at, call_sid = _position(after)
        position = tuple_(literal(created_at, UtcMillis), literal(call_sid))
        conditions.append(tuple_(CALLS.c.created_at, CALLS.c.call_sid) < position)
    newest = (CALLS.c.created_at.desc(), CALLS.c.call_sid.desc())
    query = select(CALLS).where(*conditions).order_by(*newest).limit(max(1, min(limit, MAX_PAGE)))
    return [dict(call) for call in connection.execute(query).mappings()]


def _conditions(wanted: CallFilter) -> Iterator[ColumnElement[bool]]:
    for name in ("business", "direction", "end_reason"):
        if value := wanted.get(name):
            yield CALLS.c[name] == cleaning.words(str(value), WORD_CHARS)
    if line := wanted.get("line"):
        yield CUSTOMERS if line == "twilio" else CALLS.c.line == cleaning.words(line, WORD_CHARS)
    if number := wanted.get("number"):
        number = cleaning.words(number, NUMBER_CHARS)
        yield or_(CALLS.c.from_number == number, CALLS.c.to_number == number)
    if since := wanted.get("since"):
        yield CALLS.c.created_at >= since
    if until := wanted.get("until"):
        yield CALLS.c.created_at < until


def next_cursor(page: Sequence[Row], limit: int) -> str:
    """The cursor of the page after this one; empty when this was the last. Opaque, and fit for a URL."""
    if not page or len(page) < limit:
        return ""
    last = page[-1]
    text = f"{last['created_at'].astimezone(UTC).isoformat()} {last['call_sid']}"
    return base64.urlsafe_b64encode(text.encode("utf-8")).decode("ascii").rstrip("=")


def _position(cursor: str) -> tuple[datetime, str]:
    try:
        text = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)).decode("utf-8")
        moment, _, call_sid = text.partition(" ")
        created_at = datetime.fromisoformat(moment)
        created_at.astimezone(UTC)
    except (ValueError, OverflowError, binascii.Error) as error:  # OverflowError: before the year 1 in UTC
        raise InvalidCursorError("the cursor is not one of Kav's: begin with the first page again") from error
    if created_at.tzinfo is None or "\x00" in call_sid:
        raise InvalidCursorError("the cursor is not one of Kav's: begin with the first page again")
    return created_at, call_sid

"""What Kav has put on record of a call, as far as its database has tables for that; the rest is not known.

Read once nothing is written any more. A table that is missing, or that nobody writes to, is None: not known is neither
kept nor broken.
"""

import asyncio
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SETTLED_S = 0.5
"""Records follow a call within a fraction of a second; what stays the same for so long is all there is."""
WITHIN_S = 6.0
_PARTS = {"streams": "opened_at", "turns": "number", "answers": "position", "breaches": "number", "usage": "model"}

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Record:
    """One call's rows. None: Kav tells nothing of the kind."""

    call: Row | None = None
    streams: tuple[Row, ...] | None = None
    turns: tuple[Row, ...] | None = None
    answers: tuple[Row, ...] | None = None
    breaches: tuple[Row, ...] | None = None
    usage: tuple[Row, ...] | None = None

    def of_call(self, column: str) -> Any:  # noqa: ANN401 - whatever the column holds
        """A column of the call's own row; None where there is no such thing."""
        return self.call.get(column) if self.call is not None else None


async def settled(database: Path, call_sid: str) -> Record:
    """Read a call's record when it has its end and no longer changes, or after `WITHIN_S`."""
    deadline = time.monotonic() + WITHIN_S
    before = read(database, call_sid)
    while True:
        await asyncio.sleep(SETTLED_S)
        now = read(database, call_sid)
        if (now == before and now.of_call("end_reason")) or time.monotonic() > deadline:
            return now
        before = now


def read(database: Path, call_sid: str) -> Record:
    """Read what is there now."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=1.0)) as connection:
        connection.row_factory = sqlite3.Row
        calls = _rows(connection, "calls", call_sid, "call_sid") or ()
        parts = {table: _rows(connection, table, call_sid, order) for table, order in _PARTS.items()}
    if not parts["turns"]:  # every call has turns: without them nobody writes what belongs to them
        parts |= dict.fromkeys(("turns", "answers", "breaches"))
    return Record(call=next(iter(calls), None), **parts)


def _rows(connection: sqlite3.Connection, table: str, call_sid: str, order: str) -> tuple[Row, ...] | None:
    try:
        query = f"SELECT * FROM {table} WHERE call_sid = ? ORDER BY {order}"
        return tuple(dict(row) for row in connection.execute(query, (call_sid,)))
    except sqlite3.OperationalError:  # no such table or column in this Kav
        return None

"""What is done to the database: values that wait in the backlog, and tell what they are when they cannot be done."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, cast

from sqlalchemy import Connection, Table

from kav.records import migration, repository
from kav.records.backlog import Operation
from kav.records.models import ANSWERS, CALLS, PARTS
from kav.records.parts import PartRecord
from kav.records.repository import CallFields, CallRecord, Record
from kav.records.upserts import in_one

SHOWN_DIGITS = 4  # of a telephone number in a log line: enough to find it, not enough to call it
SHOWN_CHARS = 128  # of any other text: a log line is no place for ten kilobytes
SHOWN_WORDS = 500  # of what was said: half a minute, for the line is all that is left; Heroku splits them at 10 kB

WORD_COLUMNS = frozenset(column.name for table in (CALLS, *PARTS) for column in table.c if column.info.get("words"))


@dataclass(frozen=True, slots=True)
class Save:
    """The operation that stores one record; `logs_words`: what was said may stand in a log line in its place."""

    record: Record
    logs_words: bool = False

    @property
    def row(self) -> Hashable:
        """Which row it writes, when it may be joined with a later record of the same row."""
        record = self.record
        if isinstance(record, PartRecord):
            return (record.part, record.call_sid, record.key)
        if isinstance(record, CallRecord):
            return ("calls", record.call_sid)
        return None

    def joined(self, later: Operation) -> "Save":
        """This and a later record of the same row in one, which leaves the row as both would."""
        assert isinstance(later, Save)  # noqa: S101 - they have the same row
        mine, other = self.record, later.record
        if isinstance(mine, CallRecord) and isinstance(other, CallRecord):
            known = cast("CallFields", in_one(CALLS, _dated(mine), _dated(other)))
            return replace(self, record=CallRecord(other.call_sid, known, other.at))
        if isinstance(mine, PartRecord) and isinstance(other, PartRecord) and mine.table is not ANSWERS:
            return replace(self, record=replace(mine, known=in_one(mine.table, mine.known, other.known)))
        return later  # an answer is told whole

    def apply(self, connection: Connection) -> str:
        """Store it."""
        return repository.save(connection, self.record)

    def told(self) -> Mapping[str, Any]:
        """The record as plain values; logs are kept elsewhere, by others, and for longer than the records.

        Telephone numbers stand there by their last digits, and what was said, unless it may be logged, by its length.
        """
        record = self.record
        told: dict[str, Any] = {each.name: getattr(record, each.name) for each in fields(record)}
        told |= told.pop("known", {})
        stored = type(record).__name__
        if isinstance(record, PartRecord):
            stored, told[record.key_name] = told.pop("part"), told.pop("key")
        shown = {name: self._shown(name, value) for name, value in told.items() if value is not None}
        return {"type": stored} | shown

    def _shown(self, name: str, value: object) -> object:
        if not isinstance(value, str):
            return value
        if name == "number" or name.endswith("_number"):
            return f"*{value[-SHOWN_DIGITS:]}"
        if name not in WORD_COLUMNS:
            return value[:SHOWN_CHARS]
        return value[:SHOWN_WORDS] if self.logs_words else f"[{len(value)} characters]"


@dataclass(frozen=True, slots=True)
class Upgrade:
    """The operation that migrates the database; the first one, so that every record meets its tables."""

    row: Hashable = None

    def joined(self, later: Operation) -> "Operation":
        """The later one."""
        return later

    def apply(self, connection: Connection) -> str:
        """Migrate."""
        return migration.upgrade(connection)

    def told(self) -> Mapping[str, Any]:
        """What to do when it fails for good."""
        return {"type": "Upgrade", "remedy": "run `flask --app app migrate` and read its error"}


def _dated(record: CallRecord) -> dict[str, Any]:
    """What is known, and since when: a call is as old as the first that was heard of it."""
    return {**record.known, "created_at": record.known.get("created_at") or record.at}


def without_words(record: Record) -> Record:
    """The record without what anybody said, typed or was told; what it is about and when remains."""
    if isinstance(record, PartRecord):
        return replace(record, known=_wordless(record.table, record.known))
    if isinstance(record, CallRecord):
        return replace(record, known=_wordless(CALLS, record.known))  # type: ignore[arg-type]  # fewer keys of the same
    return record


def _wordless(table: Table, known: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in known.items() if not table.c[name].info.get("words")}

"""Numbers that asked not to be called: put on the list, taken off it, looked up."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, exists, select

from kav.records import cleaning
from kav.records.errors import InvalidRecordError
from kav.records.models import DO_NOT_CALL
from kav.records.upserts import merge, said


@dataclass(frozen=True, slots=True)
class DoNotCall:
    """A number (E.164) asked at the time `at` not to be called any more, in the call `call_sid` if it was in one."""

    number: str
    at: datetime
    call_sid: str | None = None


@dataclass(frozen=True, slots=True)
class CallAgain:
    """A number (E.164) may be called again."""

    number: str


def save_do_not_call(connection: Connection, record: DoNotCall) -> str:
    """Put a number on the list; one that is there keeps its first time and call.

    Raises InvalidRecordError for what is no telephone number: nobody could dial it, and it would never match.
    """
    values = said(DO_NOT_CALL, {"added_at": record.at, "call_sid": record.call_sid}) | {"number": _e164(record.number)}
    connection.execute(merge(connection.dialect.name, DO_NOT_CALL, tuple(values)), values)
    return ""


def forget_do_not_call(connection: Connection, record: CallAgain) -> str:
    """Take a number off the list; one that is not there is no error."""
    connection.execute(delete(DO_NOT_CALL).where(DO_NOT_CALL.c.number == record.number))
    return ""


def is_do_not_call(connection: Connection, number: str) -> bool:
    """Whether the number (E.164) is on the list."""
    return bool(connection.execute(select(exists().where(DO_NOT_CALL.c.number == number))).scalar_one())


def _e164(number: str) -> str:
    if not cleaning.is_e164(number):
        raise InvalidRecordError("a do-not-call entry needs a full telephone number such as +972501234567")
    return number

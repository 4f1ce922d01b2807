"""What is stored of a call and how: each record one atomic upsert, the same on SQLite and PostgreSQL.

Records are values: built where the event happens, applied on the writer's thread. A record may be applied
twice (a lost answer is retried), so every upsert is idempotent.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, TypedDict

from sqlalchemy import ColumnElement, Connection, Executable, bindparam, case, func, update

from kav.records import cleaning
from kav.records.do_not_call import CallAgain, DoNotCall, forget_do_not_call, save_do_not_call
from kav.records.models import CALLS, SID_CHARS, STREAMS
from kav.records.parts import PartRecord, count, save_part
from kav.records.upserts import greatest, insert_into, merge, said, sid, unless_there


@dataclass(frozen=True, slots=True)
class StatusReport:
    """What Twilio says about a call, made fit by `status_report`; None is what it did not say, or said absurdly."""

    call_sid: str
    status: str | None
    duration_s: int | None
    direction: str | None
    at: datetime


def status_report(
    call_sid: str, status: str | None, duration: str | int | None, direction: str | None, at: datetime
) -> StatusReport:
    """A report from the fields of a status callback as they came (`duration` in seconds), however absurd."""
    return StatusReport(
        call_sid=cleaning.key(call_sid, SID_CHARS),
        status=cleaning.status_of(status),
        duration_s=cleaning.duration_of(duration),
        direction=cleaning.direction_of(direction),
        at=at,
    )


class CallFields(TypedDict, total=False):
    """What may be known of a call; see the columns of `models.Call`."""

    direction: str | None
    line: str | None
    """`twilio` or `browser`."""
    business: str | None
    from_number: str | None
    to_number: str | None
    created_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    end_reason: str | None
    socket_ghost_ms: float | None
    line_ghost_ms: float | None
    language: str | None
    flow_done: bool | None
    summary: str | None
    process: str | None
    """Who carries it: the latest that said anything of it, for another may take it over."""
    extracted: str | None
    """JSON: what the summary's model took from the conversation."""


class StreamFields(TypedDict, total=False):
    """What may be known of a stream; see the columns of `models.Stream`."""

    opened_at: datetime | None
    ended_at: datetime | None
    end_reason: str | None
    socket_ghost_ms: float | None
    frames_in: int | None
    frames_out: int | None
    barge_ins: int | None
    reaction_ms: float | None


@dataclass(frozen=True, slots=True)
class CallRecord:
    """What Kav knows of a call at the time `at`; what is absent or None says nothing and overwrites nothing."""

    call_sid: str
    known: CallFields
    at: datetime


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """What Kav knows of one media stream at the time `at`; what is absent or None overwrites nothing."""

    stream_sid: str
    call_sid: str
    known: StreamFields
    at: datetime


Record = StatusReport | CallRecord | StreamRecord | PartRecord | DoNotCall | CallAgain


def save(connection: Connection, record: Record) -> str:
    """Store one record inside the caller's transaction; returns a notice worth logging, mostly empty.

    Raises InvalidRecordError for a record without a call, or without a number where it is about one.
    """
    return _SAVERS[type(record)](connection, record)


def save_call_status(connection: Connection, report: StatusReport) -> str:
    """Upsert a call's status: the first terminal status wins, the duration kept is the greatest seen.

    Twilio's callbacks come late, twice and out of order, so a status only ever moves forward. A call that no process
    has ever carried ends with it: nobody else will say so.
    """
    values = {
        "call_sid": sid(report.call_sid, report.call_sid),
        "status": report.status,
        "terminal_status": cleaning.terminal_status_of(report.status),
        "duration_s": report.duration_s,
        "direction": report.direction,
        "created_at": report.at,
        "updated_at": report.at,
    }
    stored = connection.execute(_status_upsert(connection.dialect.name), values).scalar_one()
    if values["terminal_status"] is not None:
        ends = {"end_reason": f"call_status_{values['terminal_status']}", "ended_at": report.at}
        connection.execute(_end_of_nobodys(), {"of_call": values["call_sid"]} | ends)
    return _direction_notice(stored, report.direction)


def save_call(connection: Connection, record: CallRecord) -> str:
    """Upsert what Kav knows of a call."""
    direction = cleaning.direction_of(record.known.get("direction"))
    values = {"created_at": record.at} | said(CALLS, record.known)
    values |= {"call_sid": sid(record.call_sid, record.call_sid), "updated_at": record.at, "direction": direction}
    upsert = merge(connection.dialect.name, CALLS, tuple(values)).returning(CALLS.c.direction)
    return _direction_notice(connection.execute(upsert, values).scalar_one(), direction)


def save_stream(connection: Connection, record: StreamRecord) -> str:
    """Upsert what Kav knows of a stream; its call is created when it is not known yet."""
    call_sid = sid(record.call_sid, record.call_sid)
    call = {"call_sid": call_sid, "created_at": record.known.get("opened_at") or record.at, "updated_at": record.at}
    connection.execute(unless_there(connection.dialect.name, CALLS, tuple(call)), call)
    values = said(STREAMS, record.known) | {
        "call_sid": call_sid,
        "stream_sid": sid(record.stream_sid, record.call_sid),
    }
    connection.execute(merge(connection.dialect.name, STREAMS, tuple(values)), values)
    count(connection, STREAMS, call_sid)
    return ""


@cache
def _status_upsert(dialect: str) -> Executable:
    """The upsert of a status report; statements are built once, for building one costs more than running it."""
    names = ("call_sid", "status", "terminal_status", "duration_s", "direction", "created_at", "updated_at")
    insert, old = insert_into(dialect, CALLS, names), CALLS.c
    new = insert.excluded
    moves_forward = _rank(new.status) > _rank(old.status)
    upsert = insert.on_conflict_do_update(
        index_elements=[old.call_sid],
        set_={
            "status": case((moves_forward, new.status), else_=old.status),
            "terminal_status": func.coalesce(old.terminal_status, new.terminal_status),
            "duration_s": greatest(old.duration_s, new.duration_s),
            "direction": func.coalesce(old.direction, new.direction),
            "updated_at": new.updated_at,
        },
    )
    return upsert.returning(old.direction)


@cache
def _end_of_nobodys() -> Executable:
    nobodys = (CALLS.c.process.is_(None), CALLS.c.end_reason.is_(None), CALLS.c.ended_at.is_(None))
    return (
        update(CALLS)
        .where(CALLS.c.call_sid == bindparam("of_call"), *nobodys)
        .values(end_reason=bindparam("end_reason"), ended_at=bindparam("ended_at"))
    )


def _rank(status: ColumnElement[Any]) -> ColumnElement[Any]:
    return case(cleaning.STATUS_RANK, value=status, else_=-1)


def _direction_notice(stored: str | None, said: str | None) -> str:
    if said is None or stored == said:
        return ""
    return f"direction stays {stored}: a later report says {said}, and a call's direction never changes"


_SAVERS: Mapping[type, Callable[[Connection, Any], str]] = {
    StatusReport: save_call_status,
    CallRecord: save_call,
    StreamRecord: save_stream,
    PartRecord: save_part,
    DoNotCall: save_do_not_call,
    CallAgain: forget_do_not_call,
}

"""The parts of a call: turns, answers, breaches, tool calls, usage; each a row of its call, written again and again.

What a list of calls shows of its parts (how many answers, what it cost) is counted by the database whenever one of
them is written, so that it is true however often and in whatever order they come.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Literal, TypedDict

from sqlalchemy import BindParameter, Connection, Executable, Select, Table, bindparam, case, func, select, update

from kav.records import cleaning, unwanted
from kav.records.errors import InvalidRecordError
from kav.records.models import ANSWERS, CALLS, PARTS, PERSONAL, RECORDINGS, STREAMS, USAGE
from kav.records.upserts import merge, said, sid, unless_there

Part = Literal["turns", "answers", "breaches", "tool_calls", "usage", "recordings"]
TABLES: Mapping[str, Table] = {table.name: table for table in PARTS}


class TurnFields(TypedDict, total=False):
    """What may be known of a turn; see the columns of `models.Turn`."""

    stream_sid: str | None
    at_ms: int | None
    who: Literal["caller", "bot"] | None
    kind: str | None
    """`caller`, `keys`, `phrase`, `speak`, `answer` or `translated`; see `kav.call.chronicle.Turn`."""
    phrase: str | None
    text: str | None
    """All that was said, or generated."""
    heard: str | None
    """What the caller heard of it."""
    audio_ms: int | None
    heard_ms: int | None
    """None: the whole."""
    language: str | None
    step: str | None
    latency_ms: float | None
    judge_ms: float | None
    marks: str | None
    """JSON: ms at which the caller had heard so far."""


class BreachFields(TypedDict, total=False):
    """What may be known of a breach; see the columns of `models.Breach`."""

    at_ms: int | None
    what: str | None
    detail: str | None


class ToolCallFields(TypedDict, total=False):
    """What may be known of a tool call; see the columns of `models.ToolCall`."""

    name: str | None
    arguments: str | None
    output: str | None
    at_ms: int | None
    duration_ms: float | None
    ok: bool | None


class RecordingFields(TypedDict, total=False):
    """What may be known of a recording; see the columns of `models.Recording`."""

    status: str | None
    channels: int | None
    duration_s: int | None


class UsageFields(TypedDict, total=False):
    """A call's totals for one model, tokens; the input's counts include what was cached. See `models.Usage`."""

    responses: int | None
    input_text: int | None
    input_audio: int | None
    cached_text: int | None
    cached_audio: int | None
    output_text: int | None
    output_audio: int | None
    audio_s: float | None
    """Seconds of audio, for a model that is paid by time."""
    cost_micro_usd: int | None
    """None: nobody knows the model's price; see `kav.cost`."""


@dataclass(frozen=True, slots=True)
class PartRecord:
    """What Kav knows of one part of a call at the time `at`; `key` tells it from its siblings.

    Of an answer all columns are written, for a correction takes back what was said before; of the others, what is
    absent or None overwrites nothing.
    """

    part: Part
    call_sid: str
    key: str | int
    known: Mapping[str, Any]
    at: datetime

    @property
    def table(self) -> Table:
        """Where it is stored."""
        return TABLES[self.part]

    @property
    def key_name(self) -> str:
        """The column that tells it from its siblings."""
        return str(list(self.table.primary_key)[1].name)


def save_part(connection: Connection, record: PartRecord) -> str:
    """Upsert a part; its call is created when it is not known yet, and left alone when it was erased.

    A recording of an erased call is not wanted anywhere: it is noted as one to be deleted at Twilio.

    Raises InvalidRecordError for a part without its call or its key.
    """
    call_sid, table = sid(record.call_sid, record.call_sid), record.table
    erased = _ensure_call(connection, call_sid, record.at)
    if erased and table is RECORDINGS:
        unwanted.condemn(connection, [str(_key(record))], record.at)
        return f"recording {record.key} came when its call was erased: it is being deleted at Twilio"
    if erased and table in PERSONAL:
        return ""
    values = dict.fromkeys(table.c.keys()) if table is ANSWERS else {}
    values |= said(table, record.known) | {"call_sid": call_sid, record.key_name: _key(record)}
    connection.execute(merge(connection.dialect.name, table, tuple(values)), values)
    count(connection, table, call_sid)
    return ""


def count(connection: Connection, table: Table, call_sid: str) -> None:
    """Bring what the call's row says about the rows of `table` up to date."""
    statement = _count(table)
    if statement is not None:
        connection.execute(statement, {"of_call": call_sid})


def _ensure_call(connection: Connection, call_sid: str, at: datetime) -> bool:
    """Create the call's row if it is not there; say whether the call was erased."""
    # The row is locked until the transaction ends, so that nobody erases the call between this look and the write.
    query = select(CALLS.c.erased_at).where(CALLS.c.call_sid == call_sid).with_for_update(key_share=True)
    row = connection.execute(query).one_or_none()
    if row is None:
        call = {"call_sid": call_sid, "created_at": at, "updated_at": at}
        connection.execute(unless_there(connection.dialect.name, CALLS, tuple(call)), call)
    return row is not None and row.erased_at is not None


def _key(record: PartRecord) -> str | int:
    if record.key == "" or record.key is None:
        raise InvalidRecordError(f"call {record.call_sid!r}: {record.part} without their {record.key_name}")
    if isinstance(record.key, str):
        return cleaning.key(record.key, getattr(record.table.c[record.key_name].type, "length", None) or 64)
    return record.key


@cache
def _count(table: Table) -> Executable | None:
    """The statement that counts the rows of a table into their call, for the tables of which a call's row tells."""
    cost = USAGE.c.cost_micro_usd
    counted: dict[Table, dict[str, Any]] = {
        ANSWERS: {"answered_steps": func.sum(case((ANSWERS.c.unanswered.is_(None), 1), else_=0))},
        STREAMS: {"barge_ins": func.sum(STREAMS.c.barge_ins)},
        USAGE: {"cost_micro_usd": func.sum(cost), "cost_is_partial": func.count(cost) < func.count()},
    }
    if table not in counted:
        return None
    of_call: BindParameter[str] = bindparam("of_call")
    sums: dict[str, Select[Any]] = {
        column: select(sum_of).where(table.c.call_sid == of_call) for column, sum_of in counted[table].items()
    }
    values = {column: total.scalar_subquery() for column, total in sums.items()}
    return update(CALLS).where(CALLS.c.call_sid == of_call).values(values)

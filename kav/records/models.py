"""The tables: one row a call, one row a stream.

Times are UTC to the millisecond, durations carry their unit in the column's name. Every change to these
classes comes with a migration in `migrations/versions` (a test compares the two).
"""

from datetime import UTC, datetime, tzinfo

from sqlalchemy import DateTime, Dialect, Double, ForeignKey, String, Table, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SID_CHARS = 64  # Twilio's are 34
WORD_CHARS = 64  # reasons, statuses, business names
NUMBER_CHARS = 128  # E.164 has 16, but `sip:` and `client:` addresses call too
E164_CHARS = 16

# How a column merges when its row is written again, in its `info`; without one, what is said last is kept.
FIRST = {"keeps": "first"}
EARLIEST = {"keeps": "earliest"}


class UtcMillis(TypeDecorator[datetime]):
    """A time zone aware datetime, kept in UTC and cut to the millisecond on both databases."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database: SQLite keeps no time zone, so all is UTC before it goes."""
        if value is None:
            return None
        utc = value.astimezone(UTC)
        return utc.replace(microsecond=utc.microsecond // 1000 * 1000, tzinfo=_stored_zone(dialect))

    def process_result_value(self, value: datetime | None, _: Dialect) -> datetime | None:
        """From the database: what SQLite returns without a zone was UTC."""
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def _stored_zone(dialect: Dialect) -> tzinfo | None:
    return None if dialect.name == "sqlite" else UTC


class Base(DeclarativeBase):
    """The schema's root."""


class Call(Base):
    """One telephone call (CallSid), however many streams it had."""

    __tablename__ = "calls"

    call_sid: Mapped[str] = mapped_column(String(SID_CHARS), primary_key=True)
    direction: Mapped[str | None] = mapped_column(String(16), info=FIRST)
    business: Mapped[str | None] = mapped_column(String(WORD_CHARS))
    from_number: Mapped[str | None] = mapped_column(String(NUMBER_CHARS))
    to_number: Mapped[str | None] = mapped_column(String(NUMBER_CHARS))
    created_at: Mapped[datetime] = mapped_column(UtcMillis, index=True, info=EARLIEST)
    started_at: Mapped[datetime | None] = mapped_column(UtcMillis)
    ended_at: Mapped[datetime | None] = mapped_column(UtcMillis)
    end_reason: Mapped[str | None] = mapped_column(String(WORD_CHARS))
    status: Mapped[str | None] = mapped_column(String(WORD_CHARS))
    terminal_status: Mapped[str | None] = mapped_column(String(WORD_CHARS))
    duration_s: Mapped[int | None]
    socket_ghost_ms: Mapped[float | None] = mapped_column(Double)
    line_ghost_ms: Mapped[float | None] = mapped_column(Double)
    updated_at: Mapped[datetime] = mapped_column(UtcMillis)


class Stream(Base):
    """One media stream (StreamSid) of a call."""

    __tablename__ = "streams"

    stream_sid: Mapped[str] = mapped_column(String(SID_CHARS), primary_key=True)
    call_sid: Mapped[str] = mapped_column(ForeignKey("calls.call_sid"), index=True, info=FIRST)
    opened_at: Mapped[datetime | None] = mapped_column(UtcMillis, info=EARLIEST)
    ended_at: Mapped[datetime | None] = mapped_column(UtcMillis)
    end_reason: Mapped[str | None] = mapped_column(String(WORD_CHARS))
    socket_ghost_ms: Mapped[float | None] = mapped_column(Double)
    frames_in: Mapped[int | None]
    frames_out: Mapped[int | None]
    barge_ins: Mapped[int | None]


class DoNotCall(Base):
    """A telephone number that asked not to be called; it outlives the call in which it asked."""

    __tablename__ = "do_not_call"

    number: Mapped[str] = mapped_column(String(E164_CHARS), primary_key=True)
    added_at: Mapped[datetime] = mapped_column(UtcMillis, info=EARLIEST)
    call_sid: Mapped[str | None] = mapped_column(String(SID_CHARS), info=FIRST)


def table_of(model: type[Base]) -> Table:
    """The table behind a model; statements are Core, so no session and no lazy mapper work at run time."""
    table = model.__table__
    assert isinstance(table, Table)  # noqa: S101 - for the type checker: every model here is one table
    return table


CALLS = table_of(Call)
STREAMS = table_of(Stream)
DO_NOT_CALL = table_of(DoNotCall)

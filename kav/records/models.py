"""The tables: one row a call, one row for each thing that it brought.

Times are UTC to the millisecond, durations carry their unit in the column's name; `at_ms` counts from the moment when
the call's first stream began. A column's `info` says how it merges and whether it holds somebody's words, so that no
other place has to know. Every change to these classes comes with a migration in `migrations/versions` (a test compares
the two).
"""

from datetime import UTC, datetime, tzinfo

from sqlalchemy import DateTime, Dialect, Double, ForeignKey, Index, String, Table, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SID_CHARS = 64  # Twilio's are 34
WORD_CHARS = 64  # reasons, statuses, business names
NUMBER_CHARS = 128  # E.164 has 16, but `sip:` and `client:` addresses call too
E164_CHARS = 16
TEXT_CHARS = 10_000  # of one turn, an answer, a tool's output: five minutes of speech
LANGUAGE_CHARS = 16
MARKS_CHARS = 512  # `chronicle.MAX_MARKS` moments of a call's first day

# How a column merges when its row is written again; without one of these, what is said last is kept.
FIRST = {"keeps": "first"}
EARLIEST = {"keeps": "earliest"}
GREATEST = {"keeps": "greatest"}
UNTIL_ERASED = {"keeps": "until_erased"}  # whose call was erased is not known again by a late record
WORDS = {"words": True}  # what somebody said, typed or was told: left out where KAV_STORE_WORDS is off


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
    from_number: Mapped[str | None] = mapped_column(String(NUMBER_CHARS), index=True, info=UNTIL_ERASED)
    to_number: Mapped[str | None] = mapped_column(String(NUMBER_CHARS), index=True, info=UNTIL_ERASED)
    created_at: Mapped[datetime] = mapped_column(UtcMillis, info=EARLIEST)
    started_at: Mapped[datetime | None] = mapped_column(UtcMillis)
    ended_at: Mapped[datetime | None] = mapped_column(UtcMillis)
    end_reason: Mapped[str | None] = mapped_column(String(WORD_CHARS))
    status: Mapped[str | None] = mapped_column(String(WORD_CHARS))
    terminal_status: Mapped[str | None] = mapped_column(String(WORD_CHARS))
    duration_s: Mapped[int | None]
    socket_ghost_ms: Mapped[float | None] = mapped_column(Double, info=GREATEST)
    """The longest of its streams'."""
    line_ghost_ms: Mapped[float | None] = mapped_column(Double)
    language: Mapped[str | None] = mapped_column(String(LANGUAGE_CHARS))
    flow_done: Mapped[bool | None]
    summary: Mapped[str | None] = mapped_column(String(TEXT_CHARS), info=WORDS | UNTIL_ERASED)
    extracted: Mapped[str | None] = mapped_column(String(TEXT_CHARS), info=WORDS | UNTIL_ERASED)
    answered_steps: Mapped[int | None]
    barge_ins: Mapped[int | None]
    cost_micro_usd: Mapped[int | None]
    cost_is_partial: Mapped[bool | None]
    """Whether something was used whose price nobody knows: the cost is that of the rest."""
    line: Mapped[str | None] = mapped_column(String(WORD_CHARS), info=FIRST)
    """`twilio`, or `browser`: somebody who tries a flow is no customer."""
    erased_at: Mapped[datetime | None] = mapped_column(UtcMillis)
    updated_at: Mapped[datetime] = mapped_column(UtcMillis)
    process: Mapped[str | None] = mapped_column(String(WORD_CHARS), index=True)
    """Who wrote of it last, and so carries it: a call may go on in another process than it came to.

    When it is over and Twilio has not told how, also who asks, once the process that carried it is gone."""

    __table_args__ = (
        Index("ix_calls_newest", "created_at", "call_sid"),
        Index("ix_calls_business", "business", "created_at", "call_sid"),
    )


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
    reaction_ms: Mapped[float | None] = mapped_column(Double)
    """The longest time from a caller's speaking over the bot to Twilio's `clear`."""


class Turn(Base):
    """Something that one of the two said, and how much of it the other heard."""

    __tablename__ = "turns"

    call_sid: Mapped[str] = mapped_column(ForeignKey("calls.call_sid"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    stream_sid: Mapped[str | None] = mapped_column(String(SID_CHARS))
    at_ms: Mapped[int | None]
    who: Mapped[str | None] = mapped_column(String(WORD_CHARS))
    kind: Mapped[str | None] = mapped_column(String(WORD_CHARS))
    phrase: Mapped[str | None] = mapped_column(String(WORD_CHARS))
    text: Mapped[str | None] = mapped_column(String(TEXT_CHARS), info=WORDS)
    heard: Mapped[str | None] = mapped_column(String(TEXT_CHARS), info=WORDS)
    audio_ms: Mapped[int | None]
    heard_ms: Mapped[int | None]
    language: Mapped[str | None] = mapped_column(String(LANGUAGE_CHARS))
    step: Mapped[str | None] = mapped_column(String(WORD_CHARS))
    latency_ms: Mapped[int | None]
    judge_ms: Mapped[int | None]
    marks: Mapped[str | None] = mapped_column(String(MARKS_CHARS))
    """JSON: when the caller had heard so far, in ms as `at_ms`."""


class Answer(Base):
    """What a step of the script brought, or why it brought nothing."""

    __tablename__ = "answers"

    call_sid: Mapped[str] = mapped_column(ForeignKey("calls.call_sid"), primary_key=True)
    step: Mapped[str] = mapped_column(String(WORD_CHARS), primary_key=True)
    value: Mapped[str | None] = mapped_column(String(TEXT_CHARS), info=WORDS)
    unanswered: Mapped[str | None] = mapped_column(String(WORD_CHARS))
    language: Mapped[str | None] = mapped_column(String(LANGUAGE_CHARS))
    at_ms: Mapped[int | None]
    position: Mapped[int | None]


class Breach(Base):
    """Something that the model did and may not do."""

    __tablename__ = "breaches"

    call_sid: Mapped[str] = mapped_column(ForeignKey("calls.call_sid"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    at_ms: Mapped[int | None]
    what: Mapped[str | None] = mapped_column(String(WORD_CHARS))
    detail: Mapped[str | None] = mapped_column(String(TEXT_CHARS), info=WORDS)


class ToolCall(Base):
    """A tool that the model called, and what came back."""

    __tablename__ = "tool_calls"

    call_sid: Mapped[str] = mapped_column(ForeignKey("calls.call_sid"), primary_key=True)
    call_id: Mapped[str] = mapped_column(String(SID_CHARS), primary_key=True)
    name: Mapped[str | None] = mapped_column(String(WORD_CHARS))
    arguments: Mapped[str | None] = mapped_column(String(TEXT_CHARS), info=WORDS)
    output: Mapped[str | None] = mapped_column(String(TEXT_CHARS), info=WORDS)
    at_ms: Mapped[int | None]
    duration_ms: Mapped[int | None]
    ok: Mapped[bool | None]


class Usage(Base):
    """What a model was used for in a call, in all: tokens (what was cached is part of the input), audio, cost."""

    __tablename__ = "usage"

    call_sid: Mapped[str] = mapped_column(ForeignKey("calls.call_sid"), primary_key=True)
    model: Mapped[str] = mapped_column(String(WORD_CHARS), primary_key=True)
    responses: Mapped[int | None] = mapped_column(info=GREATEST)
    input_text: Mapped[int | None] = mapped_column(info=GREATEST)
    input_audio: Mapped[int | None] = mapped_column(info=GREATEST)
    cached_text: Mapped[int | None] = mapped_column(info=GREATEST)
    cached_audio: Mapped[int | None] = mapped_column(info=GREATEST)
    output_text: Mapped[int | None] = mapped_column(info=GREATEST)
    output_audio: Mapped[int | None] = mapped_column(info=GREATEST)
    audio_s: Mapped[float | None] = mapped_column(Double, info=GREATEST)
    cost_micro_usd: Mapped[int | None] = mapped_column(info=GREATEST)


class Recording(Base):
    """A recording that Twilio made of the call; the sound itself stays with Twilio."""

    __tablename__ = "recordings"

    call_sid: Mapped[str] = mapped_column(ForeignKey("calls.call_sid"), primary_key=True)
    recording_sid: Mapped[str] = mapped_column(String(SID_CHARS), primary_key=True, index=True)
    status: Mapped[str | None] = mapped_column(String(WORD_CHARS))
    channels: Mapped[int | None]
    duration_s: Mapped[int | None] = mapped_column(info=GREATEST)


class UnwantedRecording(Base):
    """A recording of a call that was erased or deleted: Twilio still has the sound, and shall not; see `unwanted`."""

    __tablename__ = "unwanted_recordings"

    recording_sid: Mapped[str] = mapped_column(String(SID_CHARS), primary_key=True)
    since: Mapped[datetime] = mapped_column(UtcMillis)


class Process(Base):
    """A process that carries calls, and until when it was surely alive; see `leases`."""

    __tablename__ = "processes"

    process: Mapped[str] = mapped_column(String(WORD_CHARS), primary_key=True)
    lease_at: Mapped[datetime] = mapped_column(UtcMillis)


class DoNotCall(Base):
    """A telephone number that asked not to be called; it outlives the call in which it asked."""

    __tablename__ = "do_not_call"

    number: Mapped[str] = mapped_column(String(E164_CHARS), primary_key=True)
    added_at: Mapped[datetime] = mapped_column(UtcMillis, info=EARLIEST)
    call_sid: Mapped[str | None] = mapped_column(String(SID_CHARS), info=FIRST)


class Logout(Base):
    """A login of the console's that was left before its time, until that would have been over; see `kav.console`."""

    __tablename__ = "logouts"

    login: Mapped[str] = mapped_column(String(WORD_CHARS), primary_key=True)
    until: Mapped[datetime] = mapped_column(UtcMillis)


def table_of(model: type[Base]) -> Table:
    """The table behind a model; statements are Core, so no session and no lazy mapper work at run time."""
    table = model.__table__
    assert isinstance(table, Table)  # noqa: S101 - for the type checker: every model here is one table
    return table


CALLS = table_of(Call)
STREAMS = table_of(Stream)
TURNS = table_of(Turn)
ANSWERS = table_of(Answer)
BREACHES = table_of(Breach)
TOOL_CALLS = table_of(ToolCall)
USAGE = table_of(Usage)
RECORDINGS = table_of(Recording)
UNWANTED_RECORDINGS = table_of(UnwantedRecording)
DO_NOT_CALL = table_of(DoNotCall)
PROCESSES = table_of(Process)
LOGOUTS = table_of(Logout)

PERSONAL = (
    TURNS,
    ANSWERS,
    BREACHES,
    TOOL_CALLS,
    RECORDINGS,
)  # what is taken away when a call is erased; see docs/records.md
PARTS = (*PERSONAL, USAGE)

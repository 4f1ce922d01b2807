"""The records, as the rest of Kav meets them: tell them things, ask them things, never wait on a driver.

    records = Records(settings.DATABASE_URL)
    records.start()
    records.save_call_status("CA1", "completed", "42", "inbound").wait(2)
    records.get_call("CA1")
    records.stop(timeout_s=5)

All methods belong to the thread whose hub called `start`; each returns at once or waits cooperatively.
"""

import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar, Unpack

from gevent import Timeout
from gevent.queue import SimpleQueue
from sqlalchemy import Connection

from kav.records import figures, reading, repository, retention
from kav.records.backlog import Backlog, Operation, SaveResult
from kav.records.database import DatabaseThread, parse_url
from kav.records.do_not_call import CallAgain, DoNotCall, is_do_not_call
from kav.records.errors import ReadTimeoutError
from kav.records.leases import Leaseholder
from kav.records.operations import Save, Upgrade, without_words
from kav.records.parts import BreachFields, Part, PartRecord, RecordingFields, ToolCallFields, TurnFields, UsageFields
from kav.records.reading import CallFilter, Row
from kav.records.repository import CallFields, CallRecord, Record, StreamFields, StreamRecord

T = TypeVar("T")

CAPACITY = 40_000  # what 100 calls that talk all the time bring in 10 minutes, and half as much again; some 70 MB
READERS = 2  # one page that reads a lot does not hold up another
READ_S = 15.0  # longer than any query may take; a page that hangs is worse than one that says why


class Records:
    """One installation's records; `clock` gives the time of day, time zone aware.

    `retention_days`: calls older than that are deleted, once a day; 0 keeps them for ever. Without `store_words`
    nothing that anybody said, typed or was told is stored; without `log_words` the log line of a record that could not
    be stored holds its length only. `forget_recording` deletes a recording (its sid) at Twilio and says whether it is
    gone; it is told of those whose call was deleted or erased.
    """

    def __init__(
        self,
        database_url: str,
        *,
        capacity: int = CAPACITY,
        read_s: float = READ_S,
        retention_days: float = 0,
        store_words: bool = True,
        log_words: bool = False,
        leases: bool = True,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        forget_recording: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self.backend = parse_url(database_url).get_backend_name()
        self._clock, self._read_s = clock, read_s
        self._store_words, self._log_words = store_words, log_words
        self._writer = DatabaseThread(database_url, "write")
        self._readers = [DatabaseThread(database_url, "read") for _ in range(READERS)]
        self._idle: SimpleQueue[DatabaseThread] = SimpleQueue(items=self._readers)
        self._backlog = Backlog(lambda operation: self._writer.run(operation.apply), capacity)
        self._janitor = retention.Janitor(self._writer, retention_days, clock, forget_recording)
        self.process = secrets.token_hex(8)
        self._leases = leases
        self._leaseholder = Leaseholder(self.process, self.submit, clock)

    def start(self) -> SaveResult:
        """Begin to write, with the migration first; a database that is away is waited for while calls go on."""
        upgraded = self.submit(Upgrade())
        self._backlog.start()
        self._janitor.start()
        if self._leases:
            self._leaseholder.start()
        return upgraded

    def stop(self, timeout_s: float) -> int:
        """Write what waits for at most `timeout_s` seconds, log the rest, one line each; returns how many were left."""
        self._janitor.stop()
        self._leaseholder.stop()
        left = self._backlog.stop(timeout_s)
        for thread in (self._writer, *self._readers):
            thread.close(timeout_s=1)
        return left

    def unheard(self) -> list[str]:
        """Calls of processes that are gone, of which Twilio has told no terminal status, and which are now this one's.

        Each is told once, to whoever asks first; never waits.
        """
        return self._leaseholder.unheard()

    def settled(self, timeout_s: float) -> bool:
        """Wait, cooperatively and at most `timeout_s` seconds, until all that was told is decided; whether it is."""
        return self._backlog.wait(timeout_s)

    def submit(self, operation: Operation) -> SaveResult:
        """Queue any operation on the database; never blocks."""
        return self._backlog.submit(operation)

    def forget_old_calls(self) -> int:
        """Delete, now, what is older than the retention says; returns how many calls. Raises what the database says."""
        return self._janitor.look()

    def forget_recordings(self) -> bool:
        """Have Twilio delete, now, the recordings of calls that are gone; whether none is left. Raises as above."""
        return self._janitor.sweep()

    def save(self, record: Record) -> SaveResult:
        """Queue any record; never blocks. The one place where words are left out that are not to be stored."""
        return self.submit(Save(record if self._store_words else without_words(record), self._log_words))

    def save_call_status(
        self, call_sid: str, status: str | None, duration: str | int | None = None, direction: str | None = None
    ) -> SaveResult:
        """Store what Twilio's status callback says, as it came; `duration` in seconds. Rules: the repository's."""
        return self.save(repository.status_report(call_sid, status, duration, direction, self._clock()))

    def save_call(self, call_sid: str, **known: Unpack[CallFields]) -> SaveResult:
        """Store what is known of a call, field by field; what is left out or None stays as it was."""
        return self.save(CallRecord(call_sid, {"process": self.process, **known}, self._clock()))

    def save_stream(self, stream_sid: str, call_sid: str, **known: Unpack[StreamFields]) -> SaveResult:
        """Store what is known of a stream, field by field; what is left out or None stays as it was."""
        return self.save(StreamRecord(stream_sid, call_sid, known, self._clock()))

    def save_turn(self, call_sid: str, number: int, **known: Unpack[TurnFields]) -> SaveResult:
        """Store what is known of a turn, the `number`th (from 1) of its call; may be told again when more is known."""
        return self._save_part("turns", call_sid, number, known)

    def save_answer(
        self,
        call_sid: str,
        step: str,
        *,
        value: str | None = None,
        unanswered: str | None = None,
        language: str | None = None,
        at_ms: int | None = None,
        position: int | None = None,
    ) -> SaveResult:
        """Store what a step brought: a value, or the reason `unanswered`; a later answer of the step replaces it."""
        known = {"value": value, "unanswered": unanswered, "language": language, "at_ms": at_ms, "position": position}
        return self._save_part("answers", call_sid, step, known)

    def save_breach(self, call_sid: str, number: int, **known: Unpack[BreachFields]) -> SaveResult:
        """Store what the model did and may not do, the `number`th (from 1) of its call."""
        return self._save_part("breaches", call_sid, number, known)

    def save_tool_call(self, call_sid: str, call_id: str, **known: Unpack[ToolCallFields]) -> SaveResult:
        """Store a tool call, when it begins and again when it is over."""
        return self._save_part("tool_calls", call_sid, call_id, known)

    def save_usage(self, call_sid: str, model: str, **known: Unpack[UsageFields]) -> SaveResult:
        """Store a call's totals for one model, as they are now; the greatest are kept."""
        return self._save_part("usage", call_sid, model, known)

    def save_recording(self, call_sid: str, recording_sid: str, **known: Unpack[RecordingFields]) -> SaveResult:
        """Store that Twilio has recorded the call; `duration_s` in seconds, None while it is not known."""
        return self._save_part("recordings", call_sid, recording_sid, known)

    def _save_part(self, part: Part, call_sid: str, key: str | int, known: Mapping[str, Any]) -> SaveResult:
        return self.save(PartRecord(part, call_sid, key, known, self._clock()))

    def save_do_not_call(self, number: str, call_sid: str | None = None) -> SaveResult:
        """Put a number (E.164) on the list of those that are not to be called, and say in which call it asked."""
        return self.save(DoNotCall(number, self._clock(), call_sid))

    def forget_do_not_call(self, number: str) -> SaveResult:
        """Take a number (E.164) off that list."""
        return self.save(CallAgain(number))

    def is_do_not_call(self, number: str) -> bool:
        """Whether a number (E.164) is on that list; raises what the database says, so that nobody calls on a guess."""
        return self.read(lambda connection: is_do_not_call(connection, number))

    def get_call(self, call_sid: str) -> Row | None:
        """One call with its `streams`, `turns`, `answers`, `breaches`, `tool_calls`, `usage` and `recordings`, or None.

        Raises what the database says.
        """
        return self.read(lambda connection: reading.get_call(connection, call_sid))

    def has_recording(self, recording_sid: str) -> bool:
        """Whether a recording of one of these calls has this sid; raises what the database says."""
        return self.read(lambda connection: reading.has_recording(connection, recording_sid))

    def list_calls(self, limit: int = 50, after: str = "", **wanted: Unpack[CallFilter]) -> list[Row]:
        """The newest calls first, those that follow the cursor `after`; see `next_cursor`.

        Raises InvalidCursorError, or what the database says.
        """
        return self.read(lambda connection: reading.list_calls(connection, limit, after, wanted))

    def cost_micro_usd(self, since: datetime, until: datetime) -> int:
        """What calls that were created in [since, until) have cost, as far as prices are known. Raises as above."""
        return self.read(lambda connection: figures.cost_micro_usd(connection, since, until))

    def read(self, query: Callable[[Connection], T]) -> T:
        """Run a query on the first reading thread that is idle; raises ReadTimeoutError when that takes too long."""
        late = ReadTimeoutError(f"the database gave no answer within {self._read_s:g} s; see /healthz and its own log")
        with Timeout(self._read_s, late):
            thread = self._idle.get()
            try:
                return thread.run(query)
            finally:
                self._idle.put(thread)

    def health(self) -> dict[str, Any]:
        """For /healthz: the kind of database, how many records wait, and what it last complained of."""
        return {"database": self.backend, "waiting": len(self._backlog), "error": self._backlog.last_error}


def durability_warning(database_url: str, dyno: str) -> str:
    """One sentence when records will not survive a restart, else the empty string; `dyno` is Heroku's DYNO."""
    if not dyno or parse_url(database_url).get_backend_name() != "sqlite":
        return ""
    return (
        "Records will not survive a restart: this dyno's disk is wiped at least daily. "
        "Add a database: heroku addons:create heroku-postgresql:essential-0"
    )

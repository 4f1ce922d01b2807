"""The records, as the rest of Kav meets them: tell them things, ask them things, never wait on a driver.

    records = Records(settings.DATABASE_URL)
    records.start()
    records.save_call_status("CA1", "completed", "42", "inbound").wait(2)
    records.get_call("CA1")
    records.stop(timeout_s=5)

All methods belong to the thread whose hub called `start`; each returns at once or waits cooperatively.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar, Unpack

from gevent import Timeout
from gevent.queue import SimpleQueue
from sqlalchemy import Connection

from kav.records import migration, repository
from kav.records.backlog import Backlog, Operation, SaveResult
from kav.records.database import DatabaseThread, parse_url
from kav.records.do_not_call import CallAgain, DoNotCall, is_do_not_call
from kav.records.errors import ReadTimeoutError
from kav.records.repository import CallFields, CallRecord, Record, Row, StreamFields, StreamRecord

T = TypeVar("T")

CAPACITY = 20_000  # about 2,000 calls' records, some 20 MB: far more than a 10-minute outage brings
READERS = 2  # one page that reads a lot does not hold up another
SHOWN_DIGITS = 4  # of a telephone number in a log line: enough to find it, not enough to call it
SHOWN_CHARS = 128  # of any other text: a log line is no place for ten kilobytes
READ_S = 15.0  # longer than any query may take; a page that hangs is worse than one that says why


@dataclass(frozen=True, slots=True)
class Save:
    """The operation that stores one record."""

    record: Record

    def apply(self, connection: Connection) -> str:
        """Store it."""
        return repository.save(connection, self.record)

    def told(self) -> Mapping[str, Any]:
        """The record as plain values; telephone numbers only by their last digits, for logs are kept elsewhere."""
        fields = asdict(self.record)
        fields |= fields.pop("known", {})
        shown = {name: _shown(name, value) for name, value in fields.items() if value is not None}
        return {"kind": type(self.record).__name__} | shown


@dataclass(frozen=True, slots=True)
class Upgrade:
    """The operation that migrates the database; the first one, so that every record meets its tables."""

    def apply(self, connection: Connection) -> str:
        """Migrate."""
        return migration.upgrade(connection)

    def told(self) -> Mapping[str, Any]:
        """What to do when it fails for good."""
        return {"kind": "Upgrade", "remedy": "run `flask --app app migrate` and read its error"}


class Records:
    """One installation's records; `clock` gives the time of day, time zone aware."""

    def __init__(
        self,
        database_url: str,
        *,
        capacity: int = CAPACITY,
        read_s: float = READ_S,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.backend = parse_url(database_url).get_backend_name()
        self._clock, self._read_s = clock, read_s
        self._writer = DatabaseThread(database_url, "write")
        self._readers = [DatabaseThread(database_url, "read") for _ in range(READERS)]
        self._idle: SimpleQueue[DatabaseThread] = SimpleQueue(items=self._readers)
        self._backlog = Backlog(lambda operation: self._writer.run(operation.apply), capacity)

    def start(self) -> SaveResult:
        """Begin to write, with the migration first; a database that is away is waited for while calls go on."""
        upgraded = self.submit(Upgrade())
        self._backlog.start()
        return upgraded

    def stop(self, timeout_s: float) -> int:
        """Write what waits for at most `timeout_s` seconds, log the rest, one line each; returns how many were left."""
        left = self._backlog.stop(timeout_s)
        for thread in (self._writer, *self._readers):
            thread.close(timeout_s=1)
        return left

    def submit(self, operation: Operation) -> SaveResult:
        """Queue any operation on the database; never blocks."""
        return self._backlog.submit(operation)

    def save_call_status(
        self, call_sid: str, status: str | None, duration: str | int | None = None, direction: str | None = None
    ) -> SaveResult:
        """Store what Twilio's status callback says, as it came; `duration` in seconds. Rules: the repository's."""
        return self.submit(Save(repository.status_report(call_sid, status, duration, direction, self._clock())))

    def save_call(self, call_sid: str, **known: Unpack[CallFields]) -> SaveResult:
        """Store what is known of a call, field by field; what is left out or None stays as it was."""
        return self.submit(Save(CallRecord(call_sid, known, self._clock())))

    def save_stream(self, stream_sid: str, call_sid: str, **known: Unpack[StreamFields]) -> SaveResult:
        """Store what is known of a stream, field by field; what is left out or None stays as it was."""
        return self.submit(Save(StreamRecord(stream_sid, call_sid, known, self._clock())))

    def save_do_not_call(self, number: str, call_sid: str | None = None) -> SaveResult:
        """Put a number (E.164) on the list of those that are not to be called, and say in which call it asked."""
        return self.submit(Save(DoNotCall(number, self._clock(), call_sid)))

    def forget_do_not_call(self, number: str) -> SaveResult:
        """Take a number (E.164) off that list."""
        return self.submit(Save(CallAgain(number)))

    def is_do_not_call(self, number: str) -> bool:
        """Whether a number (E.164) is on that list; raises what the database says, so that nobody calls on a guess."""
        return self.read(lambda connection: is_do_not_call(connection, number))

    def get_call(self, call_sid: str) -> Row | None:
        """One call with its `streams`, or None; raises what the database says."""
        return self.read(lambda connection: repository.get_call(connection, call_sid))

    def list_calls(self, limit: int = 50, before: datetime | None = None) -> list[Row]:
        """The newest calls first; raises what the database says."""
        return self.read(lambda connection: repository.list_calls(connection, limit, before))

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


def _shown(name: str, value: object) -> object:
    if not isinstance(value, str):
        return value
    is_number = name == "number" or name.endswith("_number")
    return f"*{value[-SHOWN_DIGITS:]}" if is_number else value[:SHOWN_CHARS]

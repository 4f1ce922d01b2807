"""Native threads that talk to the database, so that no driver call ever runs on the hub's thread.

Each thread has an engine of its own with one connection: nothing of SQLAlchemy's or the driver's is shared
between threads, so no lock of theirs can make the hub wait. The threads are not gevent's shared pool, where
name look-ups live: a slow database must not delay the next model connection.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from sqlite3 import OperationalError as SqliteOperationalError
from typing import Any, Literal, TypeVar

from gevent import Timeout
from gevent.threadpool import ThreadPool
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.pool import QueuePool

from kav.records.errors import DatabaseMisconfiguredError

T = TypeVar("T")
Access = Literal["read", "write"]

BUSY_S = 5  # SQLite: how long one attempt waits for another process's write
WAL_RETRY_S = 0.02
DRIVERS = ("pysqlite", "psycopg")  # others may be installed by somebody else, and are not tested
CONNECT_S = 5  # PostgreSQL: longer than any sane network, short enough to try again soon
STATEMENT_MS = 10_000  # PostgreSQL: a statement that takes longer is stuck behind a lock
READ_ONLY = "25006"  # PostgreSQL, "read_only_sql_transaction"
UNACKNOWLEDGED_MS = 10_000  # TCP: the peer vanished; without this a write waits about 15 minutes


@dataclass(frozen=True, slots=True)
class _Outcome:
    """A thread's answer; an exception is carried as a value, since gevent prints those that leave a thread."""

    value: Any = None
    error: Exception | None = None


class DatabaseThread:
    """One native thread, one engine, one connection; greenlets wait for it cooperatively.

    To be used from the thread whose hub created it.
    """

    def __init__(self, database_url: str, access: Access) -> None:
        self._url = parse_url(database_url)
        self._access = access
        self._threads = ThreadPool(1)
        self._engine: Engine | None = None

    def run(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction on this thread, wait for it, and return or raise what it did."""
        outcome: _Outcome = self._threads.apply(self._attempt, (work,))
        if outcome.error is not None:
            raise outcome.error
        value: T = outcome.value
        return value

    def close(self, timeout_s: float) -> None:
        """Close the connection and end the thread; one that is stuck in its driver is left behind."""
        with Timeout(timeout_s, False):  # type: ignore[arg-type]  # False: leave the block in silence
            self._threads.apply(self._dispose)
            self._threads.kill()

    def _attempt(self, work: Callable[[Connection], Any]) -> _Outcome:
        try:
            # The engine is built here, for the driver's import and first connection are slow.
            self._engine = self._engine or build_engine(self._url, self._access)
            with self._engine.begin() as connection:
                return _Outcome(work(connection))
        except Exception as error:  # noqa: BLE001 - the thread's root: every failure goes back to who asked
            if is_read_only(error):
                self._dispose()  # the server is a standby now: the next connection is to whoever took its place
            return _Outcome(error=error)

    def _dispose(self) -> None:
        if self._engine is not None:
            self._engine.dispose()


def parse_url(database_url: str) -> URL:
    """The URL, checked as far as possible without a connection; raises DatabaseMisconfiguredError."""
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError):
        # The URL is not repeated, nor what stands where a port should: it may hold a password, or half of one.
        raise DatabaseMisconfiguredError(
            "DATABASE_URL cannot be read: it must look like sqlite:///kav.db or postgresql://user:password@host/name"
        ) from None
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise DatabaseMisconfiguredError("DATABASE_URL: Kav keeps records in SQLite or PostgreSQL, nowhere else")
    if url.get_driver_name() not in DRIVERS:
        raise DatabaseMisconfiguredError(
            f"DATABASE_URL: the driver {url.get_driver_name()} is not installed; write {url.get_backend_name()}://..."
        )
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise DatabaseMisconfiguredError("DATABASE_URL names no file: three connections share it; use sqlite:///kav.db")
    return url


def build_engine(url: URL, access: Access) -> Engine:
    """An engine of one connection, checked before each use, set up for its database."""
    if url.get_backend_name() == "sqlite":
        return _sqlite_engine(url, access)
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": CONNECT_S,
            "tcp_user_timeout": UNACKNOWLEDGED_MS,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "prepare_threshold": None,  # poolers such as PgBouncer hand each transaction another session
        },
    )

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # Per transaction, since a pooler keeps no session settings and refuses them at connect.
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {STATEMENT_MS}")

    return engine


def _sqlite_engine(url: URL, access: Access) -> Engine:
    folder = Path(url.database or "").expanduser().resolve().parent
    if not folder.is_dir():
        raise DatabaseMisconfiguredError(f"DATABASE_URL: the folder {folder} does not exist; create it or name another")
    engine = create_engine(url, poolclass=QueuePool, pool_size=1, max_overflow=0, connect_args={"timeout": BUSY_S})
    begin = "BEGIN IMMEDIATE" if access == "write" else "BEGIN"

    @event.listens_for(engine, "connect")
    def _configure(connection: SqliteConnection, _: object) -> None:
        connection.isolation_level = None  # the driver's own transactions do not cover DDL
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten, not only forgotten
        if access == "write":
            _use_wal(connection)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)  # a writer takes its lock first: upgrading a read lock can deadlock

    return engine


def settle(engine: Engine) -> None:
    """Empty SQLite's write-ahead log, which still holds what was deleted; others that read or write may hinder it."""
    if engine.dialect.name == "sqlite":
        connection = engine.raw_connection()
        connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()


def _use_wal(connection: SqliteConnection) -> None:
    """Let readers read while a writer writes; the file remembers it. SQLite's own busy timeout does not cover this."""
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except SqliteOperationalError:  # another process is about the same
            if time.monotonic() > deadline:
                raise
            time.sleep(WAL_RETRY_S)


def is_transient(error: Exception) -> bool:
    """Whether the same operation may succeed later: the database is away, locked, full or restarting."""
    if not isinstance(error, DBAPIError):
        return False
    if getattr(error.orig, "sqlite_errorname", "") == "SQLITE_ERROR":  # a wrong statement or a missing table
        return False
    return error.connection_invalidated or isinstance(error, (OperationalError, InterfaceError)) or is_read_only(error)


def is_read_only(error: Exception) -> bool:
    """Whether PostgreSQL takes no writes, as one does that is being replaced, or has been."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", "") == READ_ONLY


def summary(error: Exception) -> str:
    """The first line of an error, without statement, parameters or password."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    lines = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {lines[0] if lines else ''}".strip()

"""Records on their way to the database: a bounded queue, served in order by one greenlet.

The queue lives on the hub's thread and nothing here touches a driver: `attempt` hands one operation to the
writer's native thread and returns when it is done. An operation that fails because the database is away is
tried again until it succeeds; one that can never succeed is logged and passed over. Nothing waits for ever:
what does not fit, and what is left when the process ends, becomes one log line each, which holds the record.
"""

import json
import logging
import random
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import gevent
from gevent.event import AsyncResult, Event
from sqlalchemy import Connection

from kav.records.database import is_transient, summary
from kav.records.errors import BacklogFullError, RecordsStoppedError

log = logging.getLogger(__name__)

FIRST_RETRY_S = 0.1
LAST_RETRY_S = 5.0  # a database that is back is noticed within seconds
TOLD_AT_ONCE = 100  # records that are given up before others have their turn: some 2 ms
PACE_S = 0.002  # between writes, each 0.5 to 1 ms of CPU: a long queue must leave the interpreter to the calls


class Operation(Protocol):
    """What a backlog keeps: something to do on a connection, and how to tell of it when it cannot be done."""

    @property
    def row(self) -> Hashable:
        """What it writes to; an operation that still waits is joined with the next one of the same row. None: never."""

    def joined(self, later: "Operation") -> "Operation":
        """One operation that does what this and then `later`, of the same row, would do."""

    def apply(self, connection: Connection) -> str:
        """Do it, inside the given transaction; returns a notice worth logging, mostly empty."""

    def told(self) -> Mapping[str, Any]:
        """The whole operation as plain values for the log; `call_sid` among them where there is a call."""


class SaveResult:
    """What became of one submitted record; a greenlet may wait for it, nobody has to."""

    def __init__(self) -> None:
        self._done: AsyncResult[None] = AsyncResult()

    @property
    def saved(self) -> bool:
        """Whether the record is in the database."""
        return bool(self._done.successful())

    @property
    def error(self) -> BaseException | None:
        """Why the record will never be in the database; None while it is open, or saved."""
        return self._done.exception

    def wait(self, timeout_s: float) -> bool:
        """Wait, cooperatively and at most `timeout_s` seconds, until it is decided; True if it was saved."""
        self._done.wait(timeout_s)
        return self.saved

    def succeed(self) -> None:
        """Say that the record was saved."""
        self._done.set(None)

    def fail(self, error: Exception) -> None:
        """Say that the record never will be saved, and why."""
        self._done.set_exception(error)


@dataclass(slots=True)
class _Waiting:
    operation: Operation
    result: SaveResult = field(default_factory=SaveResult)


class Backlog:
    """The queue and its greenlet; `capacity` counts operations, the one being tried included."""

    def __init__(self, attempt: Callable[[Operation], str], capacity: int) -> None:
        self._attempt = attempt
        self._capacity = capacity
        self._queue: deque[_Waiting] = deque()
        self._rows: dict[Hashable, _Waiting] = {}
        self._arrived, self._empty = Event(), Event()
        self._empty.set()
        self._greenlet: gevent.Greenlet[..., None] | None = None
        self._stopped = False
        self.last_error = ""

    def __len__(self) -> int:
        return len(self._queue)

    def start(self) -> None:
        """Begin to serve the queue."""
        self._greenlet = gevent.spawn(self._serve)

    def submit(self, operation: Operation) -> SaveResult:
        """Queue an operation; never blocks. Once stopped, or when full, it is logged instead and has failed.

        One that writes to a row for which another still waits joins that one, so that an outage costs memory for what
        happened and not for how often it was told.
        """
        before = self._rows.get(operation.row)
        if before is not None:
            before.operation = before.operation.joined(operation)
            return before.result
        waiting = _Waiting(operation)
        if self._stopped:
            _give_up(waiting, RecordsStoppedError("the records are stopped"))
        elif len(self._queue) >= self._capacity:
            _give_up(waiting, BacklogFullError(f"{self._capacity} records already wait for the database"))
        else:
            self._queue.append(waiting)
            if operation.row is not None:
                self._rows[operation.row] = waiting
            self._empty.clear()
            self._arrived.set()
        return waiting.result

    def wait(self, timeout_s: float) -> bool:
        """Wait, cooperatively and at most `timeout_s` seconds, until nothing waits; whether it came to that."""
        return self._empty.wait(timeout_s)

    def stop(self, timeout_s: float) -> int:
        """Take nothing more, go on for at most `timeout_s`, then log each record that is left; returns their number."""
        self._stopped = True
        if self._greenlet is not None:
            self._empty.wait(timeout_s)
            self._greenlet.kill(block=False)
        left, self._queue, self._rows = list(self._queue), deque(), {}
        why = RecordsStoppedError(f"Kav stopped; {self.last_error or 'the database was not asked yet'}")
        for number, waiting in enumerate(left, start=1):
            _give_up(waiting, why)
            if number % TOLD_AT_ONCE == 0:
                gevent.sleep(0)
        self._empty.set()
        return len(left)

    def _serve(self) -> None:
        while True:
            self._arrived.wait()
            self._arrived.clear()
            while self._queue:
                self._rows.pop(self._queue[0].operation.row, None)  # what comes from now on comes after it
                self._save(self._queue[0])
                self._queue.popleft()
                gevent.sleep(PACE_S)
            self._empty.set()

    def _save(self, waiting: _Waiting) -> None:
        """Try until it is decided."""
        tries = 0
        while not self._try(waiting, tries):
            tries += 1
            gevent.sleep(retry_delay_s(tries, random.random()))  # noqa: S311 - jitter, not a secret

    def _try(self, waiting: _Waiting, tries: int) -> bool:
        try:
            notice = self._attempt(waiting.operation)
        except Exception as error:  # noqa: BLE001 - the greenlet's root: one bad record must not end the writer
            return self._failed(waiting, error, tries)
        if tries:
            log.warning(_line("database_back", tries=tries, waiting=len(self._queue)))
        if notice:
            log.warning(_line("record_notice", call_sid=waiting.operation.told().get("call_sid"), notice=notice))
        self.last_error = ""
        waiting.result.succeed()
        return True

    def _failed(self, waiting: _Waiting, error: Exception, tries: int) -> bool:
        self.last_error = summary(error)
        if not is_transient(error):
            _give_up(waiting, error)
            return True
        if is_worth_a_line(tries):
            remedy = "check DATABASE_URL and the database; records wait in memory meanwhile"
            waiting_now = len(self._queue)
            log.error(_line("database_away", error=self.last_error, tries=tries, waiting=waiting_now, remedy=remedy))
        return False


def retry_delay_s(tries: int, chance: float) -> float:
    """Seconds before the next attempt, after `tries` failures; `chance` in 0..1 spreads processes apart."""
    return float(min(LAST_RETRY_S, FIRST_RETRY_S * 2 ** min(tries - 1, 20)) * (0.5 + chance / 2))


def is_worth_a_line(tries: int) -> bool:
    """Log an outage when it begins and then ever more rarely: after 0, 1, 2, 4, 8... earlier failures."""
    return tries & (tries - 1) == 0


def _give_up(waiting: _Waiting, error: Exception) -> None:
    log.error(_Unsaved(waiting.operation, summary(error)), extra={"keep": True})
    waiting.result.fail(error)


@dataclass(frozen=True, slots=True)
class _Unsaved:
    """What the log says of an operation that is given up: put into words only when somebody writes it."""

    operation: Operation
    reason: str

    def __str__(self) -> str:
        told = self.operation.told()
        return _line("record_not_saved", call_sid=told.get("call_sid"), reason=self.reason, record=told)


def _line(event: str, **values: object) -> str:
    # ASCII, for a caller's text may hold lone surrogates, which no log stream takes.
    return json.dumps({"event": event, **values}, default=str)

"""Whose calls are whose: each process renews a lease, and any other closes the records of one that let it run out.

A process that is killed writes nothing more, so its calls would go on for ever on record. Only *records* are closed:
what became of a telephone call, nobody here knows, and Twilio ends it by itself when its stream is gone. A process that
was only cut off from the database writes its calls' true ends over this when it is back.

What Twilio says of the calls of a process that is gone, killed or not, may have reached nobody. Those are *unheard*:
one living process takes each over, and asks (`call_unheard`).
"""

from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import gevent
from sqlalchemy import Connection, delete, or_, select, update

from kav.records.backlog import Operation, SaveResult
from kav.records.models import CALLS, PROCESSES
from kav.records.upserts import merge

RENEW_EVERY_S: Final = 10.0
LOOK_EVERY: Final = 3
"""Renewals to each look at the others' leases, written in time: after an outage of the database nobody's lease is in
order, and nobody is dead for that."""

PROMPT_S: Final = 5.0
"""In which a renewal is written where the database is there: also a process that boots looks at nobody before."""

RUNS_OUT_S: Final = 60.0
"""Six renewals: a database that is slow, a deploy that is under way, or clocks that differ close nobody's calls."""

UNHEARD_S: Final = 86_400.0
"""How old a call may be that is taken over: one whose end nobody can learn is not asked about at every boot."""


@dataclass(frozen=True, slots=True)
class Renew:
    """The operation that says: this process is alive at `at`."""

    process: str
    at: datetime

    @property
    def row(self) -> Hashable:
        """One row a process: while the database is away, the latest renewal is all there is to write."""
        return ("processes", self.process)

    def joined(self, later: Operation) -> Operation:
        """The later one."""
        return later

    def apply(self, connection: Connection) -> str:
        """Renew the lease."""
        values = {"process": self.process, "lease_at": self.at}
        connection.execute(merge(connection.dialect.name, PROCESSES, tuple(values)), values)
        return ""

    def told(self) -> Mapping[str, Any]:
        """What was not done."""
        return {"type": "Renew", "process": self.process}


@dataclass(frozen=True, slots=True)
class CloseAbandoned:
    """The operation that closes the records of processes whose lease ran out before `at`; never this one's own.

    Calls of theirs of which Twilio has not told how they ended are this process's from then on, and go into `unheard`.
    That is filled on the database's thread, and before the transaction is sure: whoever asks twice does no harm.
    """

    process: str
    at: datetime
    unheard: deque[str] = field(default_factory=deque, compare=False)

    @property
    def row(self) -> Hashable:
        """One look at a time is enough."""
        return ("abandoned", self.process)

    def joined(self, later: Operation) -> Operation:
        """The later one."""
        return later

    def apply(self, connection: Connection) -> str:
        """Close them: each as of the last moment at which its process was surely alive."""
        gone = PROCESSES.c.lease_at <= self.at - timedelta(seconds=RUNS_OUT_S)
        found = connection.execute(select(PROCESSES).where(gone, PROCESSES.c.process != self.process)).all()
        closed = sum(_close(connection, process, lease_at, self.at) for process, lease_at in found)
        self.unheard.extend(_take_over(connection, self.process, self.at))
        return f"closed the records of {closed} calls whose process is gone" if closed else ""

    def told(self) -> Mapping[str, Any]:
        """What was not done."""
        return {"type": "CloseAbandoned"}


def _close(connection: Connection, process: str, lease_at: datetime, at: datetime) -> int:
    theirs = (CALLS.c.process == process, CALLS.c.ended_at.is_(None), CALLS.c.end_reason.is_(None))
    ends = {"ended_at": lease_at, "end_reason": "process_died", "updated_at": at}
    closed = connection.execute(update(CALLS).where(*theirs).values(ends)).rowcount
    connection.execute(delete(PROCESSES).where(PROCESSES.c.process == process))
    return closed


def _take_over(connection: Connection, process: str, at: datetime) -> Sequence[str]:
    """Make the unheard calls of processes that are gone this process's; returns them."""
    of_the_gone = (CALLS.c.process != process, CALLS.c.process.not_in(select(PROCESSES.c.process)))
    over = (CALLS.c.created_at >= at - timedelta(seconds=UNHEARD_S), CALLS.c.end_reason.is_not(None))
    on_the_telephone = or_(CALLS.c.line.is_(None), CALLS.c.line == "twilio")  # None: it never had a stream
    unheard = (*over, CALLS.c.terminal_status.is_(None), on_the_telephone, *of_the_gone)
    taken = update(CALLS).where(*unheard).values(process=process).returning(CALLS.c.call_sid)
    return connection.execute(taken).scalars().all()


class Leaseholder:
    """The greenlet that renews one process's lease and looks at the others'; it only queues what is to be done."""

    def __init__(
        self,
        process: str,
        submit: Callable[[Operation], SaveResult],
        clock: Callable[[], datetime],
        sleep: Callable[[float], object] = gevent.sleep,
    ) -> None:
        self._process, self._submit, self._clock, self._sleep = process, submit, clock, sleep
        self._unheard: deque[str] = deque()
        self._greenlet: gevent.Greenlet[..., None] | None = None

    def unheard(self) -> list[str]:
        """Calls that this process has taken over since this was asked last."""
        return [self._unheard.popleft() for _ in range(len(self._unheard))]

    def start(self) -> None:
        """Take the lease, close what was abandoned, and go on doing so."""
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        """Let the lease run out; calls whose end is still to be written keep their process until then."""
        if self._greenlet is not None:
            self._greenlet.kill(block=False)

    def _run(self) -> None:
        in_time = 0
        while True:
            renewed = self._submit(Renew(self._process, self._clock()))
            if in_time % LOOK_EVERY == 0 and renewed.wait(PROMPT_S):
                self._submit(CloseAbandoned(self._process, self._clock(), self._unheard))
            self._sleep(RENEW_EVERY_S)
            in_time = in_time + 1 if renewed.saved else 1 - LOOK_EVERY

"""How long records are kept: calls that are old enough are deleted, those of one number are erased on request.

Deleting takes a call away with all it brought. Erasing takes what belongs to a person and leaves what belongs to the
business: that there was a call, how it ended, what it cost. Both go in small steps, so that no write waits for long.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import gevent
from sqlalchemy import Connection, Engine, case, delete, or_, select, update

from kav.records.database import DatabaseThread, settle, summary
from kav.records.models import CALLS, DO_NOT_CALL, PARTS, PERSONAL, RECORDINGS, STREAMS

FIRST_LOOK_S = 60.0  # after the boot, which has better things to do; a dyno may restart daily, so not a day later
LOOK_EVERY_S = 86_400.0
BATCH = 50  # calls a transaction: some thousand rows, a few ms
RETRY_S = 3_600.0
BREATH_S = 0.2  # between two batches, for the records of live calls

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Erased:
    """How many calls were blanked, and how many of their turns, answers, breaches and tool calls deleted."""

    calls: int = 0
    parts: int = 0

    def __add__(self, other: "Erased") -> "Erased":
        return Erased(self.calls + other.calls, self.parts + other.parts)


def delete_before(connection: Connection, moment: datetime, limit: int = BATCH) -> int:
    """Delete the oldest calls that were created before `moment`, at most `limit`; returns how many."""
    oldest = select(CALLS.c.call_sid).where(CALLS.c.created_at < moment).order_by(CALLS.c.created_at).limit(limit)
    sids = list(connection.execute(oldest).scalars())
    for table in (*PARTS, STREAMS, CALLS):
        connection.execute(delete(table).where(table.c.call_sid.in_(sids)))
    return len(sids)


def recordings_before(connection: Connection, moment: datetime, limit: int = BATCH) -> list[str]:
    """The recordings of the calls that `delete_before` deletes next."""
    oldest = select(CALLS.c.call_sid).where(CALLS.c.created_at < moment).order_by(CALLS.c.created_at).limit(limit)
    query = select(RECORDINGS.c.recording_sid).where(RECORDINGS.c.call_sid.in_(oldest.scalar_subquery()))
    return list(connection.execute(query).scalars())


def erase(connection: Connection, number: str, at: datetime, limit: int = BATCH) -> Erased:
    """Erase, of at most `limit` calls from or to `number`, all that belongs to a person; `Erased()` when none is left.

    An entry of the do-not-call list stays, without its call: it is the person's own wish, and without the number
    nobody could obey it.
    """
    theirs = or_(CALLS.c.from_number == number, CALLS.c.to_number == number)
    sids = list(connection.execute(select(CALLS.c.call_sid).where(theirs).limit(limit)).scalars())
    without = {
        name: case((CALLS.c[name] == number, None), else_=CALLS.c[name]) for name in ("from_number", "to_number")
    }
    blank = update(CALLS).where(CALLS.c.call_sid.in_(sids))
    connection.execute(blank.values(**without, summary=None, extracted=None, erased_at=at, updated_at=at))
    parts = sum(connection.execute(delete(table).where(table.c.call_sid.in_(sids))).rowcount for table in PERSONAL)
    connection.execute(update(DO_NOT_CALL).where(DO_NOT_CALL.c.number == number).values(call_sid=None))
    return Erased(len(sids), parts)


def recordings_of(connection: Connection, number: str) -> list[str]:
    """The recordings that Twilio has of calls from or to `number`: they must be deleted there, before they are here."""
    theirs = or_(CALLS.c.from_number == number, CALLS.c.to_number == number)
    query = select(RECORDINGS.c.recording_sid).join(CALLS, CALLS.c.call_sid == RECORDINGS.c.call_sid).where(theirs)
    return list(connection.execute(query).scalars())


def erase_everywhere(engine: Engine, number: str) -> Erased:
    """Erase all of one number's calls, batch by batch, on any thread that may wait; returns what that took away.

    Raises what the database says; what was erased until then stays erased, and it can be run again.
    """
    erased = Erased()
    while True:
        with engine.begin() as connection:
            batch = erase(connection, number, datetime.now(UTC))
        if not batch.calls:
            settle(engine)
            return erased
        erased += batch


class Janitor:
    """The greenlet that deletes calls older than `days`, once a day, on the writer's thread; 0 days: never.

    `forget_recording` is told of each recording that is on record no more; it may wait, and raises nothing.
    """

    def __init__(
        self,
        writer: DatabaseThread,
        days: float,
        clock: Callable[[], datetime],
        forget_recording: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._writer, self._days, self._clock = writer, days, clock
        self._forget_recording = forget_recording
        self._greenlet: gevent.Greenlet[..., None] | None = None

    def start(self) -> None:
        """Begin to look; does nothing when calls are kept for ever."""
        if self._days > 0:
            self._greenlet = gevent.spawn_later(FIRST_LOOK_S, self._run)

    def stop(self) -> None:
        """Stop; a batch that is under way is finished or rolled back."""
        if self._greenlet is not None:
            self._greenlet.kill(block=False)

    def look(self) -> int:
        """Delete all that is old enough, batch by batch; returns how many calls. Raises what the database says."""
        if self._days <= 0:
            return 0
        moment, deleted = self._clock() - timedelta(days=self._days), 0
        while True:
            recordings, batch = self._writer.run(
                lambda connection: (recordings_before(connection, moment), delete_before(connection, moment))
            )
            if not batch:
                return deleted
            deleted += batch
            for recording in recordings:
                self._forget_recording(recording)
            gevent.sleep(BREATH_S)

    def _run(self) -> None:
        while True:
            gevent.sleep(LOOK_EVERY_S if self._looked() else RETRY_S)

    def _looked(self) -> bool:
        try:
            deleted = self.look()
        except Exception as error:  # noqa: BLE001 - the greenlet's root: a database that is away comes back
            _tell(logging.ERROR, event="retention_failed", error=summary(error), again_in_s=RETRY_S)
            return False
        _tell(logging.INFO, event="retention", deleted_calls=deleted, older_than_days=self._days)
        return True


def _tell(level: int, **values: object) -> None:
    log.log(level, json.dumps(values))

"""How long records are kept: calls that are old enough are deleted, those of one number are erased on request.

Deleting takes a call away with all it brought. Erasing takes what belongs to a person and leaves what belongs to the
business: that there was a call, how it ended, what it cost. Both go in small steps, so that no write waits for long.
"""

import json
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import gevent
from sqlalchemy import ColumnElement, Connection, Engine, case, delete, or_, select, update

from kav.records import unwanted
from kav.records.database import DatabaseThread, settle, summary
from kav.records.models import (
    CALLS,
    DO_NOT_CALL,
    PARTS,
    PERSONAL,
    RECORDINGS,
    STREAMS,
)
from kav.records.said_numbers import calls_with

FIRST_LOOK_S = 60.0  # after the boot, which has better things to do; a dyno may restart daily, so not a day later
LOOK_EVERY_S = 86_400.0
BATCH = 50  # calls a transaction: some thousand rows, a few ms
SWEEP_EVERY_S = 60.0  # what an erased person said is not to lie with Twilio for longer than it takes
RETRY_S = 3_600.0
SWEEP_AGAIN_S = 600.0  # until one that Twilio did not delete has its turn again
MOST_REFUSALS = 3  # a sweep: Twilio is away, or does not take these credentials; the others need not try each
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
    """Delete the oldest calls that were created before `moment`, at most `limit`; returns how many.

    Their recordings are noted as unwanted, to be deleted at Twilio.
    """
    oldest = select(CALLS.c.call_sid).where(CALLS.c.created_at < moment).order_by(CALLS.c.created_at).limit(limit)
    sids = list(connection.execute(oldest).scalars())
    unwanted.condemn_those_of(connection, sids, datetime.now(UTC))
    for table in (*PARTS, STREAMS, CALLS):
        connection.execute(delete(table).where(table.c.call_sid.in_(sids)))
    return len(sids)


def erase(
    connection: Connection, number: str, at: datetime, limit: int = BATCH, said: Collection[str] | None = None
) -> Erased:
    """Erase, of at most `limit` calls of `number`, all that belongs to a person; `Erased()` when none is left.

    Theirs are those from or to the number, and those in which it was said, keyed or answered: a caller may have
    withheld it. Who else took part in such a call keeps their own number on its row. `said` are the latter, where
    somebody has looked for them already.

    An entry of the do-not-call list stays, without its call: it is the person's own wish, and without the number
    nobody could obey it.
    """
    theirs = list(connection.execute(select(CALLS.c.call_sid).where(_by_number(number)).limit(limit)).scalars())
    sids = theirs or sorted(calls_with(connection, number) if said is None else said)[:limit]
    without = {
        name: case((CALLS.c[name] == number, None), else_=CALLS.c[name]) for name in ("from_number", "to_number")
    }
    blank = update(CALLS).where(CALLS.c.call_sid.in_(sids))
    connection.execute(blank.values(**without, summary=None, extracted=None, erased_at=at, updated_at=at))
    unwanted.condemn_those_of(connection, sids, at)
    parts = sum(connection.execute(delete(table).where(table.c.call_sid.in_(sids))).rowcount for table in PERSONAL)
    connection.execute(update(DO_NOT_CALL).where(DO_NOT_CALL.c.number == number).values(call_sid=None))
    return Erased(len(sids), parts)


def recordings_of(connection: Connection, number: str) -> list[str]:
    """The recordings that Twilio has of the calls of `number`: they must be deleted there, before they are here."""
    of_calls = select(RECORDINGS.c.recording_sid).join(CALLS, CALLS.c.call_sid == RECORDINGS.c.call_sid)
    theirs = _by_number(number) | CALLS.c.call_sid.in_(calls_with(connection, number))
    return list(connection.execute(of_calls.where(theirs)).scalars())


def _by_number(number: str) -> ColumnElement[bool]:
    return or_(CALLS.c.from_number == number, CALLS.c.to_number == number)


def erase_everywhere(engine: Engine, number: str) -> Erased:
    """Erase all of one number's calls, batch by batch, on any thread that may wait; returns what that took away.

    Raises what the database says; what was erased until then stays erased, and it can be run again.
    """
    erased = Erased()
    while True:
        with engine.begin() as connection:
            batch = erase(connection, number, datetime.now(UTC), said=())
        if not batch.calls:
            break
        erased += batch
    with engine.connect() as connection:  # only now: who calls from a number may say it as well, and it is one call
        said = sorted(calls_with(connection, number))
    for first in range(0, len(said), BATCH):
        with engine.begin() as connection:
            erased += erase(connection, number, datetime.now(UTC), said=said[first : first + BATCH])
    settle(engine)
    return erased


class Janitor:
    """Deletes calls older than `days`, once a day, on the writer's thread (0 days: never), and unwanted recordings.

    `forget_recording` deletes one at Twilio and says whether it is gone; it may wait, and raises nothing.
    """

    def __init__(
        self,
        writer: DatabaseThread,
        days: float,
        clock: Callable[[], datetime],
        forget_recording: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._writer, self._days, self._clock = writer, days, clock
        self._forget_recording = forget_recording
        self._again_at: dict[str, float] = {}
        """When each recording that Twilio did not delete has its turn again, monotonic seconds."""
        self._greenlets: list[gevent.Greenlet[..., None]] = []

    def start(self) -> None:
        """Begin to look; for old calls only where they are not kept for ever."""
        self._greenlets.append(gevent.spawn_later(FIRST_LOOK_S, self._run_sweeps))
        if self._days > 0:
            self._greenlets.append(gevent.spawn_later(FIRST_LOOK_S, self._run))

    def stop(self) -> None:
        """Stop; a batch that is under way is finished or rolled back."""
        for greenlet in self._greenlets:
            greenlet.kill(block=False)

    def look(self) -> int:
        """Delete all that is old enough, batch by batch; returns how many calls. Raises what the database says."""
        if self._days <= 0:
            return 0
        moment, deleted = self._clock() - timedelta(days=self._days), 0
        while True:
            batch = self._writer.run(lambda connection: delete_before(connection, moment))
            if not batch:
                return deleted
            deleted += batch
            gevent.sleep(BREATH_S)

    def sweep(self) -> bool:
        """Have Twilio delete the unwanted recordings; whether none is left. Raises what the database says.

        One that it refuses to delete holds up none of the others, and has its turn again after a while.
        """
        refused = 0
        while due := self._due():
            for recording in due:
                if self._forget_recording(recording):
                    self._writer.run(partial(_forget, recording))
                    self._again_at.pop(recording, None)
                    _tell(logging.INFO, event="recording_deleted", recording_sid=recording)
                    continue
                self._writer.run(partial(_put_last, recording, datetime.now(UTC)))
                self._again_at[recording] = time.monotonic() + SWEEP_AGAIN_S
                refused += 1
                if refused == MOST_REFUSALS:
                    return False
        return not self._again_at

    def _due(self) -> list[str]:
        now = time.monotonic()
        return [each for each in self._writer.run(unwanted.unwanted) if self._again_at.get(each, now) <= now]

    def _run(self) -> None:
        while True:
            gevent.sleep(LOOK_EVERY_S if self._looked() else RETRY_S)

    def _run_sweeps(self) -> None:
        while True:
            self._sweep_quietly()
            gevent.sleep(SWEEP_EVERY_S)

    def _looked(self) -> bool:
        try:
            deleted = self.look()
        except Exception as error:  # noqa: BLE001 - the greenlet's root: a database that is away comes back
            _tell(logging.ERROR, event="retention_failed", error=summary(error), again_in_s=RETRY_S)
            return False
        _tell(logging.INFO, event="retention", deleted_calls=deleted, older_than_days=self._days)
        return True

    def _sweep_quietly(self) -> None:
        try:
            self.sweep()
        except Exception as error:  # noqa: BLE001 - as above
            _tell(logging.ERROR, event="recordings_not_deleted", error=summary(error), again_in_s=SWEEP_EVERY_S)


def _forget(recording: str, connection: Connection) -> None:
    unwanted.forget(connection, recording)


def _put_last(recording: str, at: datetime, connection: Connection) -> None:
    unwanted.put_last(connection, recording, at)


def _tell(level: int, **values: object) -> None:
    log.log(level, json.dumps(values))

"""Whose calls are whose: a process that is gone leaves no call open on record, and one that lives loses none."""

from datetime import UTC, datetime, timedelta
from typing import Any, Unpack

import gevent
from sqlalchemy import Connection, select

from kav.records.backlog import Operation, SaveResult
from kav.records.leases import RUNS_OUT_S, CloseAbandoned, Leaseholder, Renew
from kav.records.models import CALLS, PROCESSES
from kav.records.repository import CallFields, CallRecord, save

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def known(connection: Connection, call_sid: str, **fields: Unpack[CallFields]) -> None:
    save(connection, CallRecord(call_sid, fields, NOW))


def call(connection: Connection, call_sid: str) -> Any:  # noqa: ANN401 - a row
    return connection.execute(select(CALLS).where(CALLS.c.call_sid == call_sid)).one()


def test_calls_of_a_process_whose_lease_ran_out_are_closed_as_of_its_last_sign_of_life(connection: Connection) -> None:
    Renew("old", NOW).apply(connection)
    known(connection, "CA1", process="old")
    known(connection, "CA2", process="old", ended_at=NOW, end_reason="goodbye")
    notice = CloseAbandoned("new", later(RUNS_OUT_S)).apply(connection)
    assert "1 calls" in notice
    assert (call(connection, "CA1").end_reason, call(connection, "CA1").ended_at) == ("process_died", NOW)
    assert call(connection, "CA2").end_reason == "goodbye"
    assert connection.execute(select(PROCESSES)).all() == []


def test_a_lease_that_was_renewed_in_time_holds(connection: Connection) -> None:
    Renew("old", NOW).apply(connection)
    Renew("old", later(10)).apply(connection)
    known(connection, "CA1", process="old")
    assert CloseAbandoned("new", later(RUNS_OUT_S + 9)).apply(connection) == ""
    assert call(connection, "CA1").end_reason is None


def test_a_process_never_closes_its_own_calls_however_long_its_database_was_away(connection: Connection) -> None:
    Renew("me", NOW).apply(connection)
    known(connection, "CA1", process="me")
    CloseAbandoned("me", later(10_000)).apply(connection)
    assert call(connection, "CA1").end_reason is None


def test_calls_of_nobody_are_left_alone(connection: Connection) -> None:
    known(connection, "CA1")
    CloseAbandoned("new", later(10_000)).apply(connection)
    assert call(connection, "CA1").end_reason is None


def test_the_true_end_of_a_call_that_was_given_up_too_early_is_written_over(connection: Connection) -> None:
    Renew("cut off", NOW).apply(connection)
    known(connection, "CA1", process="cut off")
    CloseAbandoned("new", later(RUNS_OUT_S)).apply(connection)
    known(connection, "CA1", process="cut off", ended_at=later(90), end_reason="goodbye")
    assert (call(connection, "CA1").end_reason, call(connection, "CA1").ended_at) == ("goodbye", later(90))


def test_a_call_belongs_to_the_process_that_spoke_of_it_last_for_it_may_have_wandered(connection: Connection) -> None:
    Renew("first", NOW).apply(connection)
    known(connection, "CA1", process="first")
    known(connection, "CA1", process="second")
    CloseAbandoned("second", later(RUNS_OUT_S)).apply(connection)
    assert (call(connection, "CA1").process, call(connection, "CA1").end_reason) == ("second", None)


def test_renewals_that_wait_for_the_database_are_one() -> None:
    first, second = Renew("me", NOW), Renew("me", later(10))
    assert first.row == second.row
    assert first.joined(second) == second


class Database:
    """What a leaseholder submits is in the database at once, unless it is away."""

    def __init__(self) -> None:
        self.away = False
        self.submitted: list[Operation] = []

    def submit(self, operation: Operation) -> SaveResult:
        self.submitted.append(operation)
        result = SaveResult()
        if not self.away:
            result.succeed()
        return result

    @property
    def looks(self) -> int:
        return sum(isinstance(operation, CloseAbandoned) for operation in self.submitted)


def test_after_an_outage_nobody_is_taken_for_dead_before_all_could_renew() -> None:
    database, turns = Database(), iter([False] * 3 + [True] * 9 + [False] * 6)
    looks: list[int] = []

    def sleep(_: float) -> None:
        looks.append(database.looks)
        database.away = next(turns, None) is True
        if len(looks) > 18:
            raise gevent.GreenletExit

    holder = Leaseholder("me", database.submit, lambda: NOW, sleep)
    holder.start()
    gevent.sleep(0)
    assert looks[:4] == [1, 1, 1, 2], "at the boot, and every 30 s"
    assert looks[4:15] == [2] * 11, "not while the database is away, nor within 20 s after"
    assert looks[-1] > 2

"""Whose calls are whose: a process that is gone leaves no call open on record, and one that lives loses none."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict, Unpack

import gevent
from sqlalchemy import Connection, Engine, select

from kav.records import Records
from kav.records.backlog import Operation, SaveResult
from kav.records.leases import RUNS_OUT_S, UNHEARD_S, CloseAbandoned, Leaseholder, Renew
from kav.records.models import CALLS, PROCESSES
from kav.records.repository import CallFields, CallRecord, save, status_report

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


def taken(connection: Connection, process: str = "new", after_s: float = RUNS_OUT_S) -> list[str]:
    """The calls that a living process takes over."""
    Renew(process, later(after_s)).apply(connection)
    look = CloseAbandoned(process, later(after_s))
    look.apply(connection)
    return sorted(look.unheard)


def test_calls_whose_process_is_gone_and_whose_status_nobody_heard_are_taken_over_by_one(
    connection: Connection,
) -> None:
    Renew("killed", NOW).apply(connection)
    known(connection, "CA1", process="killed", line="twilio")
    known(connection, "CA2", process="killed")  # killed before its stream came
    known(connection, "CA3", process="restarted", line="twilio", ended_at=NOW, end_reason="goodbye")
    assert taken(connection) == ["CA1", "CA2", "CA3"]
    assert call(connection, "CA1").end_reason == "process_died"
    assert call(connection, "CA3").end_reason == "goodbye"
    assert taken(connection, "another") == []
    assert taken(connection) == [], "once"
    assert taken(connection, "later", 3 * RUNS_OUT_S) == ["CA1", "CA2", "CA3"], "who took them over is gone as well"


class Origin(TypedDict, total=False):
    """What a call is known to be."""

    line: str
    created_at: datetime


def test_nothing_is_taken_over_of_which_all_is_known_or_that_is_another_s(connection: Connection) -> None:
    Renew("alive", later(RUNS_OUT_S - 1)).apply(connection)

    def over(call_sid: str, process: str | None = "gone", **fields: Unpack[Origin]) -> None:
        known(connection, call_sid, process=process, ended_at=NOW, end_reason="goodbye", **fields)

    over("CA-told")
    save(connection, status_report("CA-told", "completed", "7", "inbound", NOW))
    over("CA-alive", "alive")
    over("CA-mine", "new")
    over("CA-nobody", None)
    over("CA-web", line="browser")
    over("CA-old", created_at=later(-UNHEARD_S))
    known(connection, "CA-on", process="gone", line="twilio")  # nobody says that it has ended
    assert taken(connection) == []


def test_a_call_that_was_taken_over_keeps_its_end_and_gets_its_status(connection: Connection) -> None:
    Renew("killed", NOW).apply(connection)
    known(connection, "CA1", process="killed", line="twilio")
    assert taken(connection) == ["CA1"]
    save(connection, status_report("CA1", "completed", 42, None, later(70)))
    row = call(connection, "CA1")
    assert (row.end_reason, row.ended_at, row.terminal_status, row.duration_s) == ("process_died", NOW, "completed", 42)
    assert taken(connection, "later", 3 * RUNS_OUT_S) == []


def test_of_several_processes_one_takes_a_call_over_and_tells_it_once(
    database_url: str, engine: Engine, start_records: Callable[..., Records]
) -> None:
    long_ago = datetime.now(UTC) - timedelta(seconds=RUNS_OUT_S + 1)
    with engine.begin() as connection:
        Renew("killed", long_ago).apply(connection)
        save(connection, CallRecord("CA1", {"process": "killed", "line": "twilio"}, long_ago))
    both, told = [start_records(database_url), start_records(database_url)], list[str]()
    with gevent.Timeout(10):
        while not told:
            told += [call_sid for records in both for call_sid in records.unheard()]
            gevent.sleep(0.02)
    for records in both:
        assert records.settled(5)
    assert (told, [records.unheard() for records in both]) == (["CA1"], [[], []])


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

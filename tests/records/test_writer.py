"""Guards the way to the database: nothing blocks, nothing is lost in silence, order is kept."""

import json
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest
from gevent.event import Event
from sqlalchemy import Connection, create_engine, text

from kav.records import Records, SaveResult, durability_warning
from kav.records.backlog import FIRST_RETRY_S, LAST_RETRY_S, is_worth_a_line, retry_delay_s
from kav.records.database import DatabaseThread
from kav.records.errors import (
    BacklogFullError,
    DatabaseMisconfiguredError,
    InvalidRecordError,
    ReadTimeoutError,
    RecordsStoppedError,
)
from kav.records.writer import CAPACITY
from rehearsal.servers.postgres import Postgres

Start = Callable[..., Records]
SOON_S = 10


@contextmanager
def locked(sqlite_url: str) -> Iterator[None]:
    """Another process writes to the file for as long as the block lasts."""
    connection = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    yield
    connection.execute("ROLLBACK")
    connection.close()


def lines(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    told = [json.loads(message) for message in caplog.messages if message.startswith("{")]
    return [line for line in told if line["event"] == event]


def test_a_status_is_in_the_database_when_its_result_says_so(database_url: str, start_records: Start) -> None:
    records = start_records(database_url, leases=False)
    assert records.save_call_status("CA1", "completed", "42", "inbound").wait(SOON_S)
    stored = records.get_call("CA1")
    assert stored is not None
    assert (stored["terminal_status"], stored["duration_s"]) == ("completed", 42)


def test_calls_and_streams_are_written_and_listed(database_url: str, start_records: Start) -> None:
    records = start_records(database_url, leases=False)
    records.save_call("CA1", business="clinic")
    assert records.save_stream("MZ1", "CA1", frames_in=3).wait(SOON_S)
    assert [call["business"] for call in records.list_calls()] == ["clinic"]


def test_submitting_returns_at_once_while_the_database_is_locked(sqlite_url: str, start_records: Start) -> None:
    records = start_records(sqlite_url, leases=False)
    assert records.save_call("CA0").wait(SOON_S)
    with locked(sqlite_url):
        begun = time.monotonic()
        result = records.save_call_status("CA1", "completed")
        assert time.monotonic() - begun < 1.0
        assert not result.wait(0.2)
    assert result.wait(SOON_S)


def test_records_are_read_while_a_write_waits(sqlite_url: str, start_records: Start) -> None:
    records = start_records(sqlite_url, leases=False)
    assert records.save_call("CA0").wait(SOON_S)
    holder = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    result = records.save_call("CA1")
    assert [call["call_sid"] for call in records.list_calls()] == ["CA0"]
    assert not result.saved
    holder.close()
    assert result.wait(SOON_S)


def test_what_was_submitted_during_an_outage_is_written_in_order(postgres: Postgres, postgres_url: str) -> None:
    records = Records(postgres_url, leases=False)
    assert records.start().wait(SOON_S)
    postgres.stop()
    results = [records.save_call("CA1", business=f"b{number}") for number in range(20)]
    assert not results[0].wait(0.3)
    assert records.health()["error"]
    postgres.start()
    assert all(result.wait(SOON_S) for result in results)
    stored = records.get_call("CA1")
    assert stored is not None
    assert (stored["business"], records.health()["error"], records.stop(1)) == ("b19", "", 0)


def test_a_database_that_is_killed_in_mid_call_costs_nothing_of_the_call(
    postgres: Postgres, postgres_url: str, sqlite_url: str
) -> None:
    one, other = Records(postgres_url, leases=False), Records(sqlite_url, leases=False)
    for records in (one, other):
        assert records.start().wait(SOON_S)
    begin_a_call(one)
    begin_a_call(other)
    postgres.stop()
    for records in (one, other):
        go_on_with_it(records)
    waiting = one.save_turn("CA1", 2, heard="באיזו", heard_ms=400)
    assert not waiting.wait(0.3)
    postgres.start()
    assert end_it(one).wait(SOON_S)
    other.save_turn("CA1", 2, heard="באיזו", heard_ms=400)
    assert end_it(other).wait(SOON_S)
    assert without_times(one.get_call("CA1")) == without_times(other.get_call("CA1"))
    assert (one.stop(1), other.stop(1)) == (0, 0)


def begin_a_call(records: Records) -> None:
    records.save_call("CA1", business="locksmith", from_number="+972501234567")
    records.save_turn("CA1", 1, who="caller", kind="caller", at_ms=900, text="הדלת נטרקה")
    records.save_tool_call("CA1", "call_1", name="answer_step", at_ms=1500)


def go_on_with_it(records: Records) -> None:
    records.save_tool_call("CA1", "call_1", output="noted", duration_ms=1, ok=True)
    records.save_answer("CA1", "problem", value="דלת טרוקה", position=1)
    records.save_turn("CA1", 2, who="bot", kind="speak", at_ms=2100, text="באיזו עיר אתם?")
    records.save_breach("CA1", 1, what="unasked_question", detail="מה השעה?")
    records.save_usage("CA1", "gpt-realtime-2.1", responses=2, input_text=300, cost_micro_usd=1200)


def end_it(records: Records) -> SaveResult:
    records.save_stream("MZ1", "CA1", frames_in=500, barge_ins=1)
    return records.save_call_status("CA1", "completed", "21", "inbound")


def without_times(call: dict[str, Any] | None) -> dict[str, Any]:
    assert call is not None
    return {name: value for name, value in call.items() if name not in ("created_at", "updated_at", "process")}


def test_what_is_told_again_and_again_waits_once_and_keeps_all_of_it(sqlite_url: str, start_records: Start) -> None:
    records = start_records(sqlite_url, leases=False)
    assert records.save_call("CA1").wait(SOON_S)
    with locked(sqlite_url):
        records.save_call("CA2")  # this one is being tried, and holds up the rest
        gevent.sleep(0)
        for length in range(1, 500):
            told = records.save_turn("CA1", 1, text="א" * length, audio_ms=length * 20)
        records.save_turn("CA1", 1, heard="א", text=None)
        assert records.health()["waiting"] == 2
    assert told.wait(SOON_S)
    stored = records.get_call("CA1")
    assert stored is not None
    assert (stored["turns"][0]["text"], stored["turns"][0]["heard"]) == ("א" * 499, "א")


def test_what_is_told_of_a_row_that_is_being_written_is_not_lost(
    sqlite_url: str, start_records: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = start_records(sqlite_url, leases=False)
    assert records.save_call("CA1").wait(SOON_S)
    taken, run = Event(), DatabaseThread.run

    def noted(thread: DatabaseThread, work: Callable[[Connection], str]) -> str:
        taken.set()
        return run(thread, work)

    monkeypatch.setattr(DatabaseThread, "run", noted)
    with locked(sqlite_url):
        first = records.save_turn("CA1", 1, text="בעיר", who="caller")
        assert taken.wait(SOON_S)
        second = records.save_turn("CA1", 1, text="בעיר חיפה")
        assert second is not first
    assert second.wait(SOON_S)
    stored = records.get_call("CA1")
    assert stored is not None
    assert (stored["turns"][0]["text"], stored["turns"][0]["who"]) == ("בעיר חיפה", "caller")


def test_ten_minutes_of_a_hundred_calls_fit_while_the_database_is_away(sqlite_url: str) -> None:
    records = Records(sqlite_url, leases=False)
    for number in range(100):
        call_sid = f"CA{number}"
        records.save_call(call_sid, business="locksmith")
        for turn in range(150):  # one every 4 s, told when it begins and when it is over
            result = records.save_turn(call_sid, turn, text="כן")
            records.save_turn(call_sid, turn, heard_ms=200)
            records.save_call(call_sid, flow_done=False)
            if turn % 2:
                records.save_tool_call(call_sid, f"call_{turn}", name="answer_step")
    assert result.error is None
    assert records.health()["waiting"] == 100 * (1 + 150 + 75) < CAPACITY


def test_a_database_that_takes_no_writes_for_a_while_loses_nothing(postgres_url: str) -> None:
    """As PostgreSQL is during a failover: it answers, and is read-only until the standby has taken over."""
    records = Records(postgres_url, leases=False)
    records.start()
    assert records.save_call("CA1").wait(SOON_S)
    admin = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    name = admin.url.database
    with admin.connect() as connection:
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = :n"
            ),
            {"n": name},
        )
        saved = records.save_call("CA2")
        assert not saved.wait(0.5)
        assert saved.error is None, "it waits"
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = off"))
    assert saved.wait(SOON_S)
    assert {call["call_sid"] for call in records.list_calls()} == {"CA1", "CA2"}
    admin.dispose()
    records.stop(1)


def test_a_database_that_is_away_at_boot_is_waited_for(postgres: Postgres, postgres_url: str) -> None:
    postgres.stop()
    records = Records(postgres_url, leases=False)
    records.start()
    result = records.save_call_status("CA1", "busy")
    assert not result.wait(0.3)
    postgres.start()
    assert result.wait(SOON_S)
    records.stop(1)


def test_a_record_that_can_never_be_stored_does_not_hold_up_the_next(
    database_url: str, start_records: Start, caplog: pytest.LogCaptureFixture
) -> None:
    records = start_records(database_url, leases=False)
    bad, good = records.save_call_status("", "completed"), records.save_call_status("CA1", "completed")
    assert good.wait(SOON_S)
    assert not bad.saved
    assert isinstance(bad.error, InvalidRecordError)
    assert len(lines(caplog, "record_not_saved")) == 1


def test_a_record_beyond_the_capacity_becomes_one_log_line(
    sqlite_url: str, start_records: Start, caplog: pytest.LogCaptureFixture
) -> None:
    records = start_records(sqlite_url, capacity=3, leases=False)
    assert records.save_call("CA0").wait(SOON_S)
    with locked(sqlite_url):
        waiting = [records.save_call(f"CA{number}") for number in range(1, 4)]
        refused = records.save_call_status("CA9", "completed", "42", "inbound")
        assert isinstance(refused.error, BacklogFullError)
        (line,) = lines(caplog, "record_not_saved")
    assert (line["call_sid"], line["record"]["status"], line["record"]["duration_s"]) == ("CA9", "completed", 42)
    assert all(result.wait(SOON_S) for result in waiting)


def test_what_is_unsaved_when_kav_stops_becomes_one_log_line_each(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    records = Records(sqlite_url, leases=False)
    records.start().wait(SOON_S)
    with locked(sqlite_url):
        results = [records.save_call(f"CA{number}", from_number="+972501234567") for number in range(3)]
        assert records.stop(timeout_s=0.2) == 3
    told = lines(caplog, "record_not_saved")
    assert [line["call_sid"] for line in told] == ["CA0", "CA1", "CA2"]
    assert all(isinstance(result.error, RecordsStoppedError) for result in results)
    assert "+972501234567" not in caplog.text


def test_each_kind_of_record_that_is_left_becomes_one_line_that_holds_it(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    records = Records(sqlite_url, leases=False, log_words=True)
    begin_a_call(records)
    go_on_with_it(records)
    end_it(records)
    records.save_do_not_call("+972501234567", "CA1")
    assert records.stop(timeout_s=0) == 10
    told = [line["record"] for line in lines(caplog, "record_not_saved")]
    assert [record["type"] for record in told] == [
        "CallRecord",
        "turns",
        "tool_calls",
        "answers",
        "turns",
        "breaches",
        "usage",
        "StreamRecord",
        "StatusReport",
        "DoNotCall",
    ]
    turn = next(record for record in told if record["type"] == "turns")
    assert (turn["call_sid"], turn["number"], turn["kind"], turn["text"]) == ("CA1", 1, "caller", "הדלת נטרקה")
    assert "+972501234567" not in caplog.text


def test_stopping_first_writes_what_waits(database_url: str, start_records: Start) -> None:
    records = Records(database_url, leases=False)
    records.start()
    for number in range(20):
        records.save_call(f"CA{number}")
    assert records.stop(timeout_s=SOON_S) == 0
    assert len(start_records(database_url, leases=False).list_calls()) == 20


def test_a_record_after_the_stop_is_logged_and_has_failed(sqlite_url: str, caplog: pytest.LogCaptureFixture) -> None:
    records = Records(sqlite_url, leases=False)
    records.start().wait(SOON_S)
    records.stop(1)
    assert isinstance(records.save_call("CA1").error, RecordsStoppedError)
    assert [line["call_sid"] for line in lines(caplog, "record_not_saved")] == ["CA1"]


def test_stopping_is_bounded_though_the_driver_is_stuck(postgres_url: str) -> None:
    records = Records(postgres_url, leases=False)
    assert records.start().wait(SOON_S)
    reader = gevent.spawn(records.read, lambda connection: connection.execute(text("SELECT pg_sleep(6)")))
    gevent.sleep(0)
    begun = time.monotonic()
    records.stop(timeout_s=0.2)
    assert time.monotonic() - begun < 4
    reader.kill(block=False)


def test_a_failed_read_raises_and_the_reader_stays_usable(database_url: str, start_records: Start) -> None:
    records = start_records(database_url, leases=False)
    assert records.save_call("CA1").wait(SOON_S)

    def wrong(_: Connection) -> None:
        raise LookupError("wrong query")

    for _ in range(3):
        with pytest.raises(LookupError, match="wrong query"):
            records.read(wrong)
    assert records.get_call("CA1") is not None


def test_a_question_that_takes_too_long_is_given_up(postgres_url: str) -> None:
    records = Records(postgres_url, read_s=1.5)
    assert records.start().wait(SOON_S)
    with pytest.raises(ReadTimeoutError, match=r"no answer within 1\.5 s"):
        records.read(lambda connection: connection.execute(text("SELECT pg_sleep(6)")))
    assert records.save_call("CA1").wait(SOON_S)
    assert records.list_calls()
    records.stop(1)


def test_hostile_text_becomes_one_plain_log_line(sqlite_url: str, caplog: pytest.LogCaptureFixture) -> None:
    records = Records(sqlite_url, leases=False)
    records.stop(1)
    records.save_call("CA\ud800\n1", business="x" * 10_000)
    (message,) = caplog.messages
    assert message.isascii()
    assert len(message.splitlines()) == 1
    assert len(message) < 1_000


def test_a_contradicted_direction_is_logged_with_its_call(
    database_url: str, start_records: Start, caplog: pytest.LogCaptureFixture
) -> None:
    records = start_records(database_url, leases=False)
    records.save_call("CA1", direction="inbound")
    assert records.save_call_status("CA1", "completed", "1", "outbound-api").wait(SOON_S)
    assert [line["call_sid"] for line in lines(caplog, "record_notice")] == ["CA1"]


def test_retries_wait_longer_and_longer_up_to_a_bound() -> None:
    delays = [retry_delay_s(tries, chance=1) for tries in (1, 2, 3, 50, 5000)]
    assert delays == [FIRST_RETRY_S, 2 * FIRST_RETRY_S, 4 * FIRST_RETRY_S, LAST_RETRY_S, LAST_RETRY_S]
    assert retry_delay_s(1, chance=0) == FIRST_RETRY_S / 2


def test_a_long_outage_is_logged_ever_more_rarely() -> None:
    assert [tries for tries in range(20) if is_worth_a_line(tries)] == [0, 1, 2, 4, 8, 16]


@pytest.mark.parametrize(
    "url",
    ["mysql://u:secret@h/d", "postgresql+psycopg2://u:secret@h/d", "no url secret", "sqlite://", "sqlite:///:memory:"],
)
def test_a_database_url_that_cannot_work_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(DatabaseMisconfiguredError, match="DATABASE_URL") as caught:
        Records(url, leases=False)
    assert "secret" not in str(caught.value)


def test_a_missing_folder_is_named(start_records: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    result = start_records("sqlite:////nowhere/at/all/kav.db").save_call("CA1")
    assert not result.wait(SOON_S)
    assert "/nowhere/at/all does not exist" in str(result.error)


@pytest.mark.parametrize(
    ("url", "dyno", "warned"),
    [("sqlite:///kav.db", "web.1", True), ("sqlite:///kav.db", "", False), ("postgresql://h/d", "web.1", False)],
)
def test_a_disk_that_is_wiped_is_warned_of(url: str, dyno: str, warned: bool) -> None:
    assert bool(durability_warning(url, dyno)) is warned

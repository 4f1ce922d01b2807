"""Guards the record of terminal statuses: whatever Twilio's callbacks say, and however often, the row is right."""

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine

from kav.records import reading, repository
from kav.records.cleaning import MAX_DURATION_S, STATUS_RANK, TERMINAL_STATUSES
from kav.records.errors import InvalidRecordError
from kav.records.repository import CallRecord, status_report

NOW = datetime(2026, 11, 22, 12, 0, 0, 123_456, tzinfo=UTC)
reports = st.lists(
    st.tuples(st.sampled_from([*STATUS_RANK, "nonsense", None]), st.sampled_from(["0", "7", "42", "-1", "abc", None])),
    min_size=1,
    max_size=8,
)


def report(
    connection: Connection, status: str | None, duration: str | int | None = None, direction: str | None = "inbound"
) -> str:
    return repository.save_call_status(connection, status_report("CA1", status, duration, direction, NOW))


def row(connection: Connection, call_sid: str = "CA1") -> dict[str, Any]:
    call = reading.get_call(connection, call_sid)
    assert call is not None
    return call


def test_a_terminal_status_of_an_unknown_call_is_stored(connection: Connection) -> None:
    report(connection, "completed", "42")
    stored = row(connection)
    assert (stored["status"], stored["terminal_status"], stored["duration_s"]) == ("completed", "completed", 42)
    assert (stored["direction"], stored["created_at"]) == ("inbound", NOW.replace(microsecond=123_000))


def test_a_call_that_no_process_ever_carried_ends_with_its_status(connection: Connection) -> None:
    report(connection, "busy")
    ended = row(connection)
    assert (ended["end_reason"], ended["ended_at"]) == ("call_status_busy", NOW.replace(microsecond=123_000))
    repository.save(connection, CallRecord("CA1", {"end_reason": "goodbye", "process": "p"}, NOW))
    report(connection, "completed")
    assert row(connection)["end_reason"] == "goodbye", "whoever carried it knows better"


def test_a_call_that_is_carried_has_its_end_from_its_process(connection: Connection) -> None:
    repository.save(connection, CallRecord("CA1", {"process": "p"}, NOW))
    report(connection, "completed")
    assert (row(connection)["end_reason"], row(connection)["ended_at"]) == (None, None)


@pytest.mark.parametrize("first", TERMINAL_STATUSES)
@pytest.mark.parametrize("later", TERMINAL_STATUSES)
def test_the_first_terminal_status_wins(connection: Connection, first: str, later: str) -> None:
    report(connection, first)
    report(connection, later)
    assert (row(connection)["terminal_status"], row(connection)["status"]) == (first, first)


def test_a_status_never_goes_back_in_any_order(connection: Connection) -> None:
    for number, order in enumerate(permutations(["queued", "ringing", "in-progress", "completed"])):
        for status in order:
            repository.save_call_status(connection, status_report(f"CA{number}", status, None, None, NOW))
        assert row(connection, f"CA{number}")["status"] == "completed"


def test_the_greatest_duration_is_kept_whatever_comes_later(connection: Connection) -> None:
    for duration in ("7", "42", "12", None, "abc"):
        report(connection, "completed", duration)
    assert row(connection)["duration_s"] == 42


@pytest.mark.parametrize(
    "duration", ["abc", "-5", "9" * 30, "9" * 10_000, "", "1e3", "٤٢", "²", None, MAX_DURATION_S + 1]
)
def test_an_absurd_duration_is_survived_and_not_stored(connection: Connection, duration: str | int | None) -> None:
    report(connection, "completed", duration)
    assert (row(connection)["terminal_status"], row(connection)["duration_s"]) == ("completed", None)


@pytest.mark.parametrize("status", ["x" * 10_240, "COMPLETED", "", None, "a\x00b", "\ud800"])
def test_an_unknown_status_is_survived_and_changes_nothing(connection: Connection, status: str | None) -> None:
    report(connection, "ringing")
    report(connection, status, "3")
    assert (row(connection)["status"], row(connection)["terminal_status"]) == ("ringing", None)


@pytest.mark.parametrize("call_sid", ["C" * 10_000, "a\x00b", "\ud800", "שיחה" * 100, "'; DROP TABLE calls; --"])
def test_any_text_is_a_call_sid_of_its_own(connection: Connection, call_sid: str) -> None:
    for sid in (call_sid, call_sid + "!"):
        repository.save_call_status(connection, status_report(sid, "completed", "1", None, NOW))
    assert row(connection, call_sid)["call_sid"] != row(connection, call_sid + "!")["call_sid"]


def test_a_report_without_a_call_sid_is_refused(connection: Connection) -> None:
    with pytest.raises(InvalidRecordError, match="without its CallSid"):
        repository.save_call_status(connection, status_report("", "completed", "1", None, NOW))


def test_a_direction_never_changes_and_the_contradiction_is_told(connection: Connection) -> None:
    assert report(connection, "ringing", direction="inbound") == ""
    assert "outbound" in report(connection, "completed", direction="outbound-api")
    assert row(connection)["direction"] == "inbound"


def test_a_direction_that_was_unknown_is_learnt_later(connection: Connection) -> None:
    report(connection, "ringing", direction=None)
    assert report(connection, "completed", direction="outbound-dial") == ""
    assert row(connection)["direction"] == "outbound"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reports)
def test_any_order_and_repetition_ends_in_the_promised_row(
    engine: Engine, said: list[tuple[str | None, str | None]]
) -> None:
    with engine.connect() as connection, connection.begin() as transaction:
        for at, (status, duration) in enumerate(said):
            late = NOW + timedelta(seconds=at)
            repository.save_call_status(connection, status_report("CA1", status, duration, "inbound", late))
        stored = row(connection)
        transaction.rollback()
    terminal = [status for status, _ in said if status in TERMINAL_STATUSES]
    known = [status for status, _ in said if status in STATUS_RANK]
    durations = [int(duration) for _, duration in said if duration and duration.isdigit()]
    assert stored["terminal_status"] == (terminal[0] if terminal else None)
    assert stored["status"] == (terminal[0] if terminal else max(known, key=rank) if known else None)
    assert stored["duration_s"] == max(durations, default=None)
    assert stored["created_at"] == NOW.replace(microsecond=123_000)


def rank(status: str | None) -> int:
    return STATUS_RANK[status or ""]

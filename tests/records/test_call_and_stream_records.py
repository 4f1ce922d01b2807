"""Guards the rows of calls and streams: what is known is kept, what is not said overwrites nothing."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from sqlalchemy import Connection

from kav.records import reading, repository
from kav.records.repository import CallFields, CallRecord, StreamFields, StreamRecord, status_report

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def save_call(connection: Connection, known: CallFields, at: datetime = NOW) -> str:
    return repository.save_call(connection, CallRecord("CA1", known, at))


def save_stream(connection: Connection, known: StreamFields, call_sid: str = "CA1") -> str:
    return repository.save_stream(connection, StreamRecord("MZ1", call_sid, known, NOW))


def row(connection: Connection) -> dict[str, Any]:
    call = reading.get_call(connection, "CA1")
    assert call is not None
    return call


def test_a_later_record_adds_and_none_takes_nothing_away(connection: Connection) -> None:
    save_call(connection, {"business": "locksmith", "from_number": "+972501234567", "started_at": NOW})
    save_call(connection, {"business": None, "end_reason": "hangup", "socket_ghost_ms": 12.5})
    stored = row(connection)
    assert (stored["business"], stored["from_number"], stored["started_at"]) == ("locksmith", "+972501234567", NOW)
    assert (stored["end_reason"], stored["socket_ghost_ms"]) == ("hangup", 12.5)


def test_a_call_s_socket_ghost_is_the_longest_of_its_streams(connection: Connection) -> None:
    for ghost_ms in (12.5, 90.0, 3.0):
        save_call(connection, {"socket_ghost_ms": ghost_ms})
    assert row(connection)["socket_ghost_ms"] == 90.0


def test_a_call_record_leaves_the_status_alone(connection: Connection) -> None:
    repository.save_call_status(connection, status_report("CA1", "completed", "9", None, NOW))
    save_call(connection, {"end_reason": "call_status_completed"})
    assert (row(connection)["terminal_status"], row(connection)["duration_s"]) == ("completed", 9)


def test_a_call_was_created_when_it_was_first_known(connection: Connection) -> None:
    repository.save_call_status(connection, status_report("CA1", "ringing", None, None, NOW))
    save_call(connection, {"created_at": NOW - timedelta(seconds=2)}, at=NOW + timedelta(seconds=9))
    save_call(connection, {}, at=NOW + timedelta(seconds=10))
    assert row(connection)["created_at"] == NOW - timedelta(seconds=2)


def test_a_call_record_never_changes_the_direction(connection: Connection) -> None:
    assert save_call(connection, {"direction": "outbound"}) == ""
    assert "stays outbound" in save_call(connection, {"direction": "inbound"})
    assert row(connection)["direction"] == "outbound"


def test_times_are_utc_to_the_millisecond_from_any_zone(connection: Connection) -> None:
    jerusalem = timezone(timedelta(hours=2))
    save_call(connection, {"ended_at": datetime(2026, 11, 22, 14, 0, 1, 987_654, tzinfo=jerusalem)})
    stored = row(connection)["ended_at"]
    assert (stored, stored.utcoffset()) == (datetime(2026, 11, 22, 12, 0, 1, 987_000, tzinfo=UTC), timedelta(0))


def test_long_and_unstorable_text_is_cut_to_its_column(connection: Connection) -> None:
    save_call(connection, {"from_number": "sip:\x00\ud800" + "a" * 5000, "business": "ש" * 100})
    assert row(connection)["from_number"] == "sip:" + "a" * 124
    assert row(connection)["business"] == "ש" * 64


def test_a_stream_brings_its_unknown_call_along(connection: Connection) -> None:
    save_stream(connection, {"opened_at": NOW, "frames_in": 5})
    save_stream(connection, {"ended_at": NOW, "frames_in": 250, "barge_ins": 2})
    (stream,) = row(connection)["streams"]
    assert (stream["stream_sid"], stream["opened_at"], stream["frames_in"], stream["barge_ins"]) == ("MZ1", NOW, 250, 2)


def test_a_stream_never_moves_to_another_call(connection: Connection) -> None:
    save_stream(connection, {"frames_in": 1})
    save_stream(connection, {"frames_in": 2}, call_sid="CA2")
    assert [stream["frames_in"] for stream in row(connection)["streams"]] == [2]


def test_calls_are_listed_newest_first_and_page_by_page(connection: Connection) -> None:
    for number in range(5):
        record = CallRecord(f"CA{number}", {}, NOW + timedelta(seconds=number))
        repository.save_call(connection, record)
    first = reading.list_calls(connection, limit=2)
    rest = reading.list_calls(connection, after=reading.next_cursor(first, limit=2))
    assert [call["call_sid"] for call in first + rest] == ["CA4", "CA3", "CA2", "CA1", "CA0"]


def test_an_unknown_call_reads_as_none(connection: Connection) -> None:
    assert reading.get_call(connection, "CA404") is None

"""Guards the record of Twilio's recordings: listed with their call, told twice without harm, gone with the person."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from kav.records import Records, reading, repository, retention
from kav.records.parts import PartRecord
from kav.records.repository import CallRecord

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
THEIRS = "+972501234567"


def recorded(number: int, **known: object) -> PartRecord:
    return PartRecord("recordings", "CA1", f"RE{number}", {"status": "completed", **known}, NOW)


def test_a_recording_is_listed_with_its_call_however_often_it_is_told(connection: Connection) -> None:
    for duration_s in (31, None, 31):
        repository.save(connection, recorded(1, channels=2, duration_s=duration_s))
    call = reading.get_call(connection, "CA1")
    assert call is not None
    assert call["recordings"] == [
        {"call_sid": "CA1", "recording_sid": "RE1", "status": "completed", "channels": 2, "duration_s": 31}
    ]


def test_the_recordings_of_calls_that_are_too_old_are_forgotten_and_no_others(sqlite_url: str) -> None:
    forgotten: list[str] = []
    records = Records(sqlite_url, retention_days=90, clock=lambda: NOW, forget_recording=forgotten.append)
    records.start()
    for number, days_ago in ((1, 91), (2, 89), (3, 200)):
        records.save_call(f"CA{number}", created_at=NOW - timedelta(days=days_ago))
        records.save_recording(f"CA{number}", f"RE{number}", status="completed").wait(10)
    assert records.forget_old_calls() == 2
    assert sorted(forgotten) == ["RE1", "RE3"]
    records.stop(1)


def test_what_was_recorded_and_taken_from_the_talk_goes_with_the_person(connection: Connection) -> None:
    known: repository.CallFields = {"from_number": THEIRS, "summary": "דנה ביקשה תור", "extracted": '{"name": "דנה"}'}
    repository.save(connection, CallRecord("CA1", known, NOW))
    repository.save(connection, recorded(1))
    retention.erase(connection, THEIRS, NOW)
    repository.save(connection, recorded(2))
    repository.save(connection, CallRecord("CA1", {"extracted": '{"name": "דנה"}'}, NOW))
    call = reading.get_call(connection, "CA1")
    assert call is not None
    assert (call["summary"], call["extracted"], call["recordings"]) == (None, None, [])

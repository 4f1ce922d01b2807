"""Guards the record of Twilio's recordings: listed with their call, told twice without harm, gone with the person."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import gevent
import pytest
from gevent import Timeout
from sqlalchemy import Connection

from kav.records import Records, reading, repository, retention, unwanted
from kav.records.parts import PartRecord
from kav.records.repository import CallRecord

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
THEIRS = "+972501234567"
OLD = {1: 91, 2: 89, 3: 200}
"""Calls, and how many days ago they were."""


@dataclass
class Twilio:
    """Deletes recordings, or does not, or not all of them."""

    deletes: bool = True
    keeps: str = ""
    asked: list[str] = field(default_factory=list)

    def __call__(self, recording_sid: str) -> bool:
        self.asked.append(recording_sid)
        return self.deletes and recording_sid != self.keeps


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


def test_the_recordings_of_calls_that_are_too_old_are_deleted_at_twilio_and_no_others(database_url: str) -> None:
    twilio = Twilio()
    records = records_with_old_calls(database_url, twilio)
    assert records.forget_old_calls() == 2
    assert twilio.asked == []
    assert records.forget_recordings()
    assert sorted(twilio.asked) == ["RE1", "RE3"]
    assert records.forget_recordings()
    assert len(twilio.asked) == 2
    records.stop(1)


def test_what_twilio_does_not_delete_is_remembered_though_kav_is_started_anew(database_url: str) -> None:
    away, back = Twilio(deletes=False), Twilio()
    records = records_with_old_calls(database_url, away)
    records.forget_old_calls()
    assert not records.forget_recordings()
    assert not records.forget_recordings()
    assert sorted(away.asked) == ["RE1", "RE3"], "each has its turn again after a while, and not before"
    records.stop(1)
    later = Records(database_url, forget_recording=back)
    later.start().wait(10)
    assert later.forget_recordings()
    assert sorted(back.asked) == ["RE1", "RE3"]
    later.stop(1)


def test_a_recording_that_twilio_keeps_holds_up_no_other_and_is_asked_for_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    twilio = Twilio(keeps="RE3")
    records = records_with_old_calls(database_url, twilio)
    records.forget_old_calls()
    monkeypatch.setattr(retention, "SWEEP_AGAIN_S", 0.3)
    assert not records.forget_recordings()
    assert sorted(twilio.asked) == ["RE1", "RE3"]
    twilio.keeps = ""
    with Timeout(10):
        while not records.forget_recordings():
            gevent.sleep(0.02)
    assert sorted(twilio.asked) == ["RE1", "RE3", "RE3"]
    records.stop(1)


def test_a_twilio_that_is_away_is_not_asked_for_every_recording(database_url: str) -> None:
    twilio = Twilio(deletes=False)
    records = records_with_old_calls(database_url, twilio, {number: 100 + number for number in range(8)})
    records.forget_old_calls()
    assert not records.forget_recordings()
    assert len(twilio.asked) == retention.MOST_REFUSALS
    assert not records.forget_recordings()
    assert len(set(twilio.asked)) == 2 * retention.MOST_REFUSALS, "others have their turn"
    records.stop(1)


def test_what_is_unwanted_is_deleted_without_anybody_s_asking(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "kav.records.retention")
    monkeypatch.setattr(retention, "FIRST_LOOK_S", 0)
    monkeypatch.setattr(retention, "SWEEP_EVERY_S", 0.05)
    twilio = Twilio()
    records = records_with_old_calls(sqlite_url, twilio)
    records.forget_old_calls()
    with Timeout(10):
        while len(twilio.asked) < 2:
            gevent.sleep(0.02)
    records.stop(1)
    assert '"recording_deleted", "recording_sid": "RE1"' in caplog.text


def records_with_old_calls(database_url: str, twilio: Twilio, days_ago: Mapping[int, int] = OLD) -> Records:
    records = Records(database_url, retention_days=90, clock=lambda: NOW, forget_recording=twilio)
    records.start()
    for number, days in days_ago.items():
        records.save_call(f"CA{number}", created_at=NOW - timedelta(days=days))
        records.save_recording(f"CA{number}", f"RE{number}", status="completed").wait(10)
    return records


def test_what_was_recorded_and_taken_from_the_talk_goes_with_the_person(connection: Connection) -> None:
    known: repository.CallFields = {"from_number": THEIRS, "summary": "דנה ביקשה תור", "extracted": '{"name": "דנה"}'}
    repository.save(connection, CallRecord("CA1", known, NOW))
    repository.save(connection, recorded(1))
    retention.erase(connection, THEIRS, NOW)
    notice = repository.save(connection, recorded(2))
    repository.save(connection, CallRecord("CA1", {"extracted": '{"name": "דנה"}'}, NOW))
    call = reading.get_call(connection, "CA1")
    assert call is not None
    assert (call["summary"], call["extracted"], call["recordings"]) == (None, None, [])
    assert unwanted.unwanted(connection) == ["RE1", "RE2"]  # the sound goes too, also of the one that came late
    assert "RE2 came when its call was erased" in notice

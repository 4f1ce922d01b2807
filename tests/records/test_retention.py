"""Guards what is to be forgotten: old calls go whole, a person's words and number go on request, others' stay."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from gevent import Timeout
from sqlalchemy import Connection, Engine, func, select

from kav.records import Records, reading, repository, retention
from kav.records.do_not_call import DoNotCall, is_do_not_call
from kav.records.models import CALLS, DO_NOT_CALL, PARTS, STREAMS
from kav.records.parts import Part, PartRecord
from kav.records.repository import CallRecord, StreamRecord
from kav.records.retention import Erased
from kav.records.said_numbers import calls_with

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
THEIRS, OTHERS, BUSINESS = "+972501234567", "+972507654321", "+97231110001"
SECRET = "הקוד לדלת הוא שבע"
SOON_S = 10
PARTS_OF_A_CALL: tuple[tuple[Part, str | int, dict[str, object]], ...] = (
    ("turns", 1, {"text": SECRET}),
    ("turns", 2, {"heard": SECRET}),
    ("answers", "city", {"value": SECRET}),
    ("breaches", 1, {"detail": SECRET}),
    ("tool_calls", "call_1", {"arguments": SECRET, "output": SECRET}),
    ("usage", "gpt-realtime-2.1", {"input_text": 9, "cost_micro_usd": 7206}),
)


def save_whole_call(connection: Connection, call_sid: str, days_ago: float = 0, number: str = THEIRS) -> None:
    at = NOW - timedelta(days=days_ago)
    known: repository.CallFields = {"from_number": number, "to_number": BUSINESS, "summary": SECRET}
    repository.save(connection, CallRecord(call_sid, known, at))
    repository.save(connection, StreamRecord(f"MZ{call_sid}", call_sid, {"frames_in": 5}, at))
    for part, key, known_of_part in PARTS_OF_A_CALL:
        repository.save(connection, PartRecord(part, call_sid, key, known_of_part, at))


def rows(connection: Connection) -> int:
    return sum(
        connection.execute(select(func.count()).select_from(table)).scalar_one() for table in (CALLS, STREAMS, *PARTS)
    )


def test_old_calls_go_with_all_they_brought_and_the_others_stay(connection: Connection) -> None:
    for call_sid, days_ago in (("CA1", 91), ("CA2", 90.5), ("CA3", 89)):
        save_whole_call(connection, call_sid, days_ago)
    whole = rows(connection) // 3
    assert retention.delete_before(connection, NOW - timedelta(days=90)) == 2
    assert rows(connection) == whole
    assert reading.get_call(connection, "CA3") is not None
    assert retention.delete_before(connection, NOW - timedelta(days=90)) == 0


def test_deleting_goes_in_small_steps_oldest_first(connection: Connection) -> None:
    for number in range(5):
        save_whole_call(connection, f"CA{number}", days_ago=100 + number)
    assert retention.delete_before(connection, NOW, limit=2) == 2
    assert {call["call_sid"] for call in reading.list_calls(connection)} == {"CA0", "CA1", "CA2"}


def test_the_daily_round_deletes_what_is_older_than_the_setting_says(database_url: str) -> None:
    records = Records(database_url, retention_days=90, clock=lambda: NOW)
    records.start()
    for number in range(retention.BATCH + 1):
        records.save_call(f"CA{number}", created_at=NOW - timedelta(days=91))
    assert records.save_call("CA_young", created_at=NOW - timedelta(days=89)).wait(SOON_S)
    assert records.forget_old_calls() == retention.BATCH + 1
    assert [call["call_sid"] for call in records.list_calls()] == ["CA_young"]
    assert records.stop(1) == 0


def test_a_round_is_made_soon_after_the_start_and_is_logged(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "kav.records.retention")
    first = Records(database_url, clock=lambda: NOW)
    first.start()
    assert first.save_call("CA1", created_at=NOW - timedelta(days=2)).wait(SOON_S)
    first.stop(1)
    monkeypatch.setattr(retention, "FIRST_LOOK_S", 0)
    records = Records(database_url, retention_days=1, clock=lambda: NOW)
    records.start()
    with Timeout(SOON_S):
        while not rounds(caplog):
            records.save_call("CA2").wait(SOON_S)
    assert [call["call_sid"] for call in records.list_calls()] == ["CA2"]
    records.stop(1)
    assert rounds(caplog) == [(1, 1)]


def rounds(caplog: pytest.LogCaptureFixture) -> list[tuple[int, float]]:
    told = [json.loads(message) for message in caplog.messages if message.startswith('{"event": "retention"')]
    return [(line["deleted_calls"], line["older_than_days"]) for line in told]


def test_without_a_retention_calls_are_kept_for_ever(sqlite_url: str) -> None:
    records = Records(sqlite_url, retention_days=0, clock=lambda: NOW)
    records.start()
    assert records.save_call("CA1", created_at=NOW - timedelta(days=9999)).wait(SOON_S)
    assert (records.forget_old_calls(), len(records.list_calls())) == (0, 1)
    records.stop(1)


def test_a_round_fails_while_the_database_is_away_and_breaks_nothing(tmp_path: Path) -> None:
    records = Records(f"sqlite:///{tmp_path / 'kav.db'}", retention_days=1, clock=lambda: NOW)
    with pytest.raises(Exception, match="no such table"):
        records.forget_old_calls()
    assert records.start().wait(SOON_S)
    assert records.forget_old_calls() == 0
    records.stop(1)


def test_erasing_a_number_leaves_nothing_of_the_person_and_the_business_its_costs(connection: Connection) -> None:
    save_whole_call(connection, "CA1")
    save_whole_call(connection, "CA2", number=OTHERS)
    assert retention.erase(connection, THEIRS, NOW) == Erased(calls=1, parts=5)
    call, untouched = (reading.get_call(connection, sid) for sid in ("CA1", "CA2"))
    assert call is not None
    assert SECRET not in repr(call)
    assert THEIRS not in repr(call)
    assert (call["to_number"], call["erased_at"], call["cost_micro_usd"]) == (BUSINESS, NOW, 7206)
    assert (len(call["streams"]), len(call["usage"])) == (1, 1)
    assert untouched is not None
    assert (untouched["from_number"], untouched["summary"], len(untouched["turns"])) == (OTHERS, SECRET, 2)


OTHER_NUMBERS = [
    ("+972501234567", "501234567"),  # an id, or an order
    ("+972501234567", "10501234567"),
    ("+972501234567", "4580 0501 2345 6789"),
    ("+12125551234", "(312) 555-1234"),
    ("+12125551234", "5551234"),
    ("+97231234567", "31234567"),
]
ITS_WAYS = [
    ("+972501234567", "050, 123, 4567"),
    ("+972501234567", "דירה 5 050\u2013123\u05be4567"),
    ("+972501234567", "00972 50 123 4567"),
    ("+972501234567", "+972 (0)50 1234567"),
    ("+12125551234", "212-555-1234"),
    ("+12125551234", "1 (212) 555 1234"),
    ("+97231234567", "03-1234567"),
]


@pytest.mark.parametrize(("number", "text"), OTHER_NUMBERS)
def test_nobody_s_call_is_erased_for_digits_that_are_like_another_s_number(
    connection: Connection, number: str, text: str
) -> None:
    repository.save(connection, PartRecord("turns", "CA1", 1, {"who": "caller", "text": f"{text}, תודה"}, NOW))
    assert calls_with(connection, number) == set()
    assert retention.erase(connection, number, NOW) == Erased()


@pytest.mark.parametrize(("number", "text"), ITS_WAYS)
def test_a_number_is_found_however_it_is_written(connection: Connection, number: str, text: str) -> None:
    repository.save(connection, PartRecord("turns", "CA1", 1, {"who": "caller", "text": f"{text}, תודה"}, NOW))
    assert calls_with(connection, number) == {"CA1"}


@pytest.mark.parametrize("written", [THEIRS, "0501234567", "050-123 4567", "(050) 123.45.67", "972501234567"])
@pytest.mark.parametrize("place", ["answer", "keys", "extracted", "tool"])
def test_a_call_in_which_the_number_was_said_is_theirs_too(connection: Connection, place: str, written: str) -> None:
    """A caller who has withheld it is asked for it."""
    for call_sid, said in (("CA1", written), ("CA2", "0507654321")):
        known: repository.CallFields = {"from_number": "anonymous", "summary": SECRET}
        if place == "extracted":
            known["extracted"] = json.dumps({"phone": said})
        repository.save(connection, CallRecord(call_sid, known, NOW))
        repository.save(
            connection,
            PartRecord("turns", call_sid, 1, {"who": "caller", "text": said if place == "keys" else "כן"}, NOW),
        )
        if place == "answer":
            repository.save(connection, PartRecord("answers", call_sid, "phone", {"value": said}, NOW))
        if place == "tool":
            arguments = json.dumps({"value": said})
            repository.save(connection, PartRecord("tool_calls", call_sid, "c1", {"arguments": arguments}, NOW))
    assert retention.erase(connection, THEIRS, NOW).calls == 1
    assert retention.erase(connection, THEIRS, NOW) == Erased()
    theirs, others = (reading.get_call(connection, sid) for sid in ("CA1", "CA2"))
    assert theirs is not None
    assert others is not None
    assert written not in repr(theirs)
    assert (theirs["summary"], theirs["turns"], others["summary"]) == (None, [], SECRET)


def test_erasing_goes_step_by_step_until_nothing_is_left(connection: Connection) -> None:
    for number in range(3):
        save_whole_call(connection, f"CA{number}")
    repository.save(connection, CallRecord("CA9", {"to_number": THEIRS, "direction": "outbound"}, NOW))
    erased = [retention.erase(connection, THEIRS, NOW, limit=2).calls for _ in range(3)]
    assert erased == [2, 2, 0]


def test_what_comes_late_does_not_bring_an_erased_person_back(connection: Connection) -> None:
    save_whole_call(connection, "CA1")
    retention.erase(connection, THEIRS, NOW)
    save_whole_call(connection, "CA1")
    repository.save(connection, CallRecord("CA1", {"end_reason": "caller_hung_up"}, NOW))
    call = reading.get_call(connection, "CA1")
    assert call is not None
    assert (call["from_number"], call["summary"], call["turns"], call["answers"]) == (None, None, [], [])
    assert (call["end_reason"], len(call["usage"])) == ("caller_hung_up", 1)


def test_an_erased_number_is_still_not_to_be_called(connection: Connection) -> None:
    save_whole_call(connection, "CA1")
    repository.save(connection, DoNotCall(THEIRS, NOW, "CA1"))
    retention.erase(connection, THEIRS, NOW)
    assert is_do_not_call(connection, THEIRS)
    assert connection.execute(select(DO_NOT_CALL.c.call_sid)).scalar_one() is None


def test_an_erased_word_is_not_in_the_file_any_more(
    sqlite_url: str, engine_of: Callable[[str], Engine], tmp_path: Path
) -> None:
    engine = engine_of(sqlite_url)
    with engine.begin() as connection:
        save_whole_call(connection, "CA1")
    engine.dispose()  # the last connection moves the write-ahead log into the file
    assert SECRET.encode() in (tmp_path / "kav.db").read_bytes()
    with engine.begin() as connection:
        retention.erase(connection, THEIRS, NOW)
    engine.dispose()
    left = b"".join(path.read_bytes() for path in tmp_path.glob("kav.db*"))
    assert SECRET.encode() not in left
    assert THEIRS.encode() not in left

"""Guards the do-not-call list: a number that asked stays on it, whatever happens to its call, until it is taken off."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, select

from kav.records import Records, repository
from kav.records.do_not_call import CallAgain, DoNotCall, is_do_not_call
from kav.records.errors import InvalidRecordError
from kav.records.models import DO_NOT_CALL

NUMBER, OTHER = "+972501234567", "+972507654321"
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SOON_S = 10


def test_a_number_is_on_the_list_from_its_asking_until_it_is_taken_off(connection: Connection) -> None:
    assert not is_do_not_call(connection, NUMBER)
    repository.save(connection, DoNotCall(NUMBER, NOW, "CA1"))
    assert (is_do_not_call(connection, NUMBER), is_do_not_call(connection, OTHER)) == (True, False)
    repository.save(connection, CallAgain(NUMBER))
    assert not is_do_not_call(connection, NUMBER)


def test_who_asks_twice_keeps_the_first_time_and_call(connection: Connection) -> None:
    for late_s, call_sid in ((0, "CA1"), (9, "CA2"), (9, None)):
        repository.save(connection, DoNotCall(NUMBER, NOW + timedelta(seconds=late_s), call_sid))
    (entry,) = connection.execute(select(DO_NOT_CALL)).mappings()
    assert (entry["added_at"], entry["call_sid"]) == (NOW, "CA1")


def test_taking_off_a_number_that_is_not_there_is_no_error(connection: Connection) -> None:
    assert repository.save(connection, CallAgain(OTHER)) == ""


@pytest.mark.parametrize("number", ["", "0501234567", "anonymous", "client:dana", "+0501234567", "+972501234567\n"])
def test_what_nobody_can_dial_is_refused(connection: Connection, number: str) -> None:
    with pytest.raises(InvalidRecordError, match="full telephone number"):
        repository.save(connection, DoNotCall(number, NOW))


def test_the_list_is_kept_and_asked_without_a_driver_on_the_hub(
    database_url: str, start_records: Callable[..., Records]
) -> None:
    records = start_records(database_url)
    assert records.save_do_not_call(NUMBER, "CA1").wait(SOON_S)
    assert records.is_do_not_call(NUMBER)
    assert records.forget_do_not_call(NUMBER).wait(SOON_S)
    assert not records.is_do_not_call(NUMBER)


def test_an_entry_that_cannot_be_kept_is_logged_without_its_number(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    records = Records(sqlite_url)
    records.stop(timeout_s=1)
    records.save_do_not_call(NUMBER, "CA1")
    (message,) = caplog.messages
    assert ("CA1" in message, NUMBER in message, NUMBER[-4:] in message) == (True, False, True)

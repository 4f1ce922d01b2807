"""Guards the list of calls: every call once, newest first, whatever comes in meanwhile, and fast."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, insert

from kav.records import CallFilter, Records, next_cursor, reading, repository
from kav.records.errors import InvalidCursorError
from kav.records.models import CALLS
from kav.records.repository import CallRecord

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
CALLER, OTHER, BUSINESS = "+972501234567", "+972507654321", "+97231110001"
SOON_S = 10


def pages(connection: Connection, limit: int, wanted: CallFilter | None = None) -> Iterator[list[dict[str, Any]]]:
    after, rounds = "", 0
    while rounds == 0 or after:
        page = reading.list_calls(connection, limit, after, wanted)
        after, rounds = next_cursor(page, limit), rounds + 1
        assert rounds < 100
        yield page


def save(connection: Connection, call_sid: str, second: int, **known: Any) -> None:  # noqa: ANN401 - any column
    repository.save(connection, CallRecord(call_sid, known, NOW + timedelta(seconds=second)))  # type: ignore[arg-type]


def sids(found: list[dict[str, Any]]) -> list[str]:
    return [call["call_sid"] for call in found]


def test_pages_hold_every_call_once_though_some_began_at_the_same_moment(connection: Connection) -> None:
    for number in range(25):
        save(connection, f"CA{number:02}", number // 10)
    listed = [sid for page in pages(connection, limit=4) for sid in sids(page)]
    assert listed == sorted(listed, reverse=True)
    assert len(listed) == len(set(listed)) == 25


def test_a_call_that_comes_in_meanwhile_moves_nobody_to_another_page(connection: Connection) -> None:
    for number in range(6):
        save(connection, f"CA{number}", number)
    book = pages(connection, limit=2)
    first = next(book)
    save(connection, "CA9", 9)
    rest = [sid for page in book for sid in sids(page)]
    assert sids(first) + rest == ["CA5", "CA4", "CA3", "CA2", "CA1", "CA0"]


@pytest.mark.parametrize(
    ("wanted", "listed"),
    [
        ({"business": "locksmith"}, ["CA3", "CA1"]),
        ({"direction": "outbound"}, ["CA2"]),
        ({"number": CALLER}, ["CA2", "CA1"]),
        ({"number": CALLER, "direction": "inbound"}, ["CA1"]),
        ({"number": "+9725"}, []),
        ({"end_reason": "silence"}, ["CA3"]),
        ({"since": NOW + timedelta(seconds=2)}, ["CA3", "CA2"]),
        ({"until": NOW + timedelta(seconds=2)}, ["CA1"]),
        ({"business": "", "number": None}, ["CA3", "CA2", "CA1"]),
    ],
)
def test_calls_are_found_by_what_is_asked(connection: Connection, wanted: CallFilter, listed: list[str]) -> None:
    save(connection, "CA1", 1, business="locksmith", direction="inbound", from_number=CALLER, to_number=BUSINESS)
    save(connection, "CA2", 2, business="sales", direction="outbound", from_number=BUSINESS, to_number=CALLER)
    save(connection, "CA3", 3, business="locksmith", from_number=OTHER, end_reason="silence")
    assert sids(reading.list_calls(connection, wanted=wanted)) == listed


@pytest.mark.parametrize("cursor", ["nonsense", "!", "a", "é", "MjAyNi0xMS0yMiBDQTE", "AAAA"])
def test_a_cursor_of_nobodys_is_refused_in_a_sentence(connection: Connection, cursor: str) -> None:
    with pytest.raises(InvalidCursorError, match="begin with the first page"):
        reading.list_calls(connection, after=cursor)


@pytest.mark.parametrize(("asked", "given"), [(-5, 1), (0, 1), (10_000, reading.MAX_PAGE)])
def test_a_page_is_bounded(engine: Engine, asked: int, given: int) -> None:
    with engine.begin() as connection:
        fill(connection, reading.MAX_PAGE + 1)
        assert len(reading.list_calls(connection, asked)) == given


def test_calls_are_listed_and_turned_over_through_the_records(
    database_url: str, start_records: Callable[..., Records]
) -> None:
    records = start_records(database_url)
    for number in range(3):
        result = records.save_call(f"CA{number}", business="clinic", created_at=NOW + timedelta(seconds=number))
    records.save_call("CA9", business="sales")
    assert result.wait(SOON_S)
    page = records.list_calls(2, business="clinic")
    assert sids(page) + sids(records.list_calls(2, next_cursor(page, 2), business="clinic")) == ["CA2", "CA1", "CA0"]


def fill(connection: Connection, count: int) -> None:
    moments = (NOW + timedelta(seconds=number) for number in range(count))
    rows = [
        {
            "call_sid": f"CA{number:032x}",
            "created_at": moment,
            "updated_at": moment,
            "business": f"business {number % 7}",
            "direction": "outbound" if number % 5 == 0 else "inbound",
            "from_number": f"+9725{number % 500:08}",
            "to_number": BUSINESS,
            "end_reason": "silence" if number % 97 == 0 else "caller_hung_up",
        }
        for number, moment in enumerate(moments)
    ]
    connection.execute(insert(CALLS), rows)


def test_a_page_of_ten_thousand_calls_takes_less_than_a_tenth_of_a_second(engine: Engine) -> None:
    asked: list[CallFilter] = [
        {},
        {"business": "business 3"},
        {"number": "+972500000007"},
        {"end_reason": "silence", "direction": "outbound"},
        {"end_reason": "never"},
        {"business": "business 3", "until": NOW + timedelta(seconds=500)},
    ]
    with engine.begin() as connection:
        fill(connection, 10_000)
        middle = next_cursor(reading.list_calls(connection, 500), 500)
        for wanted in asked:
            for after in ("", middle):
                assert min(seconds(connection, after, wanted) for _ in range(5)) < 0.1, (wanted, after)


def seconds(connection: Connection, after: str, wanted: CallFilter) -> float:
    begun = time.perf_counter()
    reading.list_calls(connection, 50, after, wanted)
    return time.perf_counter() - begun

"""Guards what a rehearsal holds against Kav's record of a call: its end, the script's answers, breaches, languages."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rehearsal.expectation import Answer, Expect
from rehearsal.record import Record, compare, read_until

CALLER = "+972501000001"
RIGHT = Record(
    end_reason="goodbye",
    answers={"city": "חיפה", "phone": CALLER, "when": Answer(unanswered="dont_know")},
    breaches=("wrong language: he",),
    languages=("he", "en"),
    translated=1,
)
EXPECT = Expect(
    end_reason="goodbye",
    answers={"city": "חיפה", "phone": "caller_id", "when": Answer(unanswered="dont_know")},
    breaches=("wrong language: he",),
    languages=("he", "en"),
    translated=1,
)


def test_a_record_that_is_as_expected_has_nothing_against_it() -> None:
    findings = list(compare(EXPECT, RIGHT, CALLER))
    assert len(findings) == 5
    assert all(finding.ok for finding in findings)


def test_what_nobody_asks_for_is_not_looked_at() -> None:
    assert list(compare(Expect(), RIGHT, CALLER)) == []


@pytest.mark.parametrize(
    ("wrong", "seen"),
    [
        (Record(None, RIGHT.answers, RIGHT.breaches, RIGHT.languages, 1), "no reason"),
        (Record("goodbye", {"city": "עכו"}, RIGHT.breaches, RIGHT.languages, 1), "city «עכו»"),
        (Record("goodbye", {**RIGHT.answers, "name": "דנה"}, RIGHT.breaches, RIGHT.languages, 1), "name «דנה»"),
        (
            Record("goodbye", {"when": Answer(unanswered="refused")}, RIGHT.breaches, RIGHT.languages, 1),
            "when (refused)",
        ),
        (Record("goodbye", RIGHT.answers, (), RIGHT.languages, 1), "nothing"),
        (Record("goodbye", RIGHT.answers, RIGHT.breaches, ("he",), 1), "he"),
        (Record("goodbye", RIGHT.answers, RIGHT.breaches, RIGHT.languages, 2), "2"),
    ],
)
def test_each_difference_is_told_with_what_is_there_instead(wrong: Record, seen: str) -> None:
    (finding,) = (finding for finding in compare(EXPECT, wrong, CALLER) if not finding.ok)
    assert finding.seen.endswith(seen)


TABLES = """
CREATE TABLE calls (call_sid, end_reason);
CREATE TABLE answers (call_sid, step, value, unanswered, position);
CREATE TABLE breaches (call_sid, number, what, detail);
CREATE TABLE turns (call_sid, number, who, language, kind);
"""
"""As much of Kav's tables as is read."""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The record of a call that was handed over and came back: a moment before it has its second end."""
    path = tmp_path / "kav.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(TABLES)
        connection.execute("INSERT INTO calls VALUES ('CA1', 'transferred'), ('CA2', 'silence')")
        connection.execute(
            "INSERT INTO answers VALUES ('CA1', 'when', NULL, 'dont_know', 3), ('CA1', 'city', 'חיפה', NULL, 1),"
            " ('CA1', 'phone', ?, NULL, 2), ('CA2', 'name', 'דנה', NULL, 1)",
            (CALLER,),
        )
        connection.execute("INSERT INTO breaches VALUES ('CA1', 1, 'wrong language', 'he'), ('CA2', 1, 'other', '')")
        connection.execute(
            "INSERT INTO turns VALUES ('CA1', 1, 'bot', 'he', 'phrase'), ('CA1', 2, 'caller', 'ru', 'caller'),"
            " ('CA1', 3, 'bot', 'en', 'translated'), ('CA1', 4, 'bot', 'en', 'speak'),"
            " ('CA2', 1, 'bot', 'he', 'translated')"
        )
    return path


async def test_a_record_is_read_until_it_says_what_is_expected(database: Path) -> None:
    looks = 0

    def is_right(record: Record) -> bool:
        nonlocal looks
        looks += 1
        if looks == 2:
            with closing(sqlite3.connect(database)) as connection, connection:
                connection.execute("UPDATE calls SET end_reason = 'goodbye' WHERE call_sid = 'CA1'")
        return record.end_reason == "goodbye"

    assert await read_until(database, "CA1", is_right) == RIGHT
    assert looks == 3


async def test_a_record_that_stays_wrong_is_returned_as_it_is(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rehearsal.record.WITHIN_S", 0.1)
    record = await read_until(database, "CA1", lambda _record: False)
    assert record.end_reason == "transferred"
    assert await read_until(database, "CA3", lambda _record: False) == Record()

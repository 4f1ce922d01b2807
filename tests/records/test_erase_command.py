"""Guards `flask --app app erase`: it takes away what belongs to one person, says how much, and stops at mistakes."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask

from kav import commands
from kav.records import Records
from kav.settings import Settings

THEIRS, OWN = "+972501234567", "+97231234567"
SECRET = "הקוד לדלת הוא שבע"
SOON_S = 10


def erase(database_url: str, number: str) -> Result:
    app = Flask("kav-erase")
    app.config["KAV_SETTINGS"] = Settings(_env_file=None, DATABASE_URL=database_url, KAV_DEFAULT_NUMBERS=OWN)  # type: ignore[call-arg, arg-type]  # pydantic-settings' own, and a text as the environment has it
    commands.init_app(app)
    result: Result = app.test_cli_runner().invoke(args=["erase", number])
    return result


def save_a_call(records: Records) -> None:
    records.save_call("CA1", from_number=THEIRS, to_number=OWN)
    records.save_do_not_call(THEIRS, "CA1")
    assert records.save_turn("CA1", 1, text=SECRET).wait(SOON_S)


@pytest.mark.parametrize("written", [THEIRS, "+972 50-123 4567"])
def test_a_number_is_erased_beside_a_kav_that_runs(
    database_url: str, start_records: Callable[..., Records], written: str
) -> None:
    records = start_records(database_url)
    save_a_call(records)
    result = erase(database_url, written)
    assert result.exit_code == 0, result.output
    assert f"{THEIRS}: 1 calls erased, with 1 turns" in result.output
    call = records.get_call("CA1")
    assert call is not None
    assert (call["from_number"], call["to_number"], call["turns"]) == (None, OWN, [])
    assert records.is_do_not_call(THEIRS)
    assert "0 calls erased" in erase(database_url, THEIRS).output


def test_who_answers_with_the_number_they_call_from_is_one_call(
    database_url: str, start_records: Callable[..., Records]
) -> None:
    records = start_records(database_url)
    records.save_call("CA1", from_number=THEIRS, to_number=OWN)
    records.save_answer("CA1", "phone", value=THEIRS)
    records.save_call("CA2", from_number="anonymous", to_number=OWN)
    assert records.save_answer("CA2", "phone", value="050-123 4567").wait(SOON_S)
    result = erase(database_url, THEIRS)
    assert f"{THEIRS}: 2 calls erased, with 2 turns" in result.output
    assert [call["answers"] for call in (records.get_call("CA1"), records.get_call("CA2")) if call] == [[], []]
    assert "0 calls erased" in erase(database_url, THEIRS).output


def test_the_erased_words_are_in_no_file_though_others_have_it_open(
    sqlite_url: str, start_records: Callable[..., Records], tmp_path: Path
) -> None:
    save_a_call(start_records(sqlite_url))
    onlooker = sqlite3.connect(tmp_path / "kav.db")
    assert onlooker.execute("SELECT text FROM turns").fetchall() == [(SECRET,)]
    assert SECRET.encode() in b"".join(path.read_bytes() for path in tmp_path.glob("kav.db*"))
    assert erase(sqlite_url, THEIRS).exit_code == 0
    assert SECRET.encode() not in b"".join(path.read_bytes() for path in tmp_path.glob("kav.db*"))
    onlooker.close()


def test_a_database_without_tables_gets_them_and_has_nothing_to_erase(database_url: str) -> None:
    result = erase(database_url, THEIRS)
    assert (result.exit_code, "0 calls erased" in result.output) == (0, True), result.output


@pytest.mark.parametrize(
    ("number", "said"), [(OWN, "is a number of your own"), ("050-1234567", "write it like +972312345678")]
)
def test_a_number_that_is_not_a_callers_is_refused(sqlite_url: str, number: str, said: str) -> None:
    result = erase(sqlite_url, number)
    assert (result.exit_code, said in result.output) == (1, True), result.output


def test_a_database_that_is_away_is_one_sentence_without_its_password() -> None:
    result = erase("postgresql+psycopg://kav:hidden@127.0.0.1:1/kav", THEIRS)
    assert (result.exit_code, result.output.count("\n")) == (1, 1), result.output
    assert "run it again" in result.output
    assert "hidden" not in result.output

"""Guards callers' words: where they are not to be stored, no table, file or log line holds one of them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kav.records import Records

WORDS = ("דלת פלדה", "רחוב הרצל 7", "נחתך באמצע", "שש שבע", "לא היה לומר", "פתיחת דלת")
SOON_S = 10


def tell_a_whole_call(records: Records) -> None:
    said, street, heard, keyed, unasked, summary = WORDS
    records.save_call("CA1", business="locksmith", from_number="+972501234567", summary=summary)
    records.save_turn("CA1", 1, who="caller", kind="caller", at_ms=900, text=said, language="he")
    records.save_turn("CA1", 2, who="bot", kind="speak", text=said + street, heard=heard, heard_ms=400)
    records.save_turn("CA1", 3, who="caller", kind="keys", text=keyed)
    records.save_answer("CA1", "street", value=street, language="he", position=1)
    records.save_breach("CA1", 1, what="unasked_question", detail=unasked)
    records.save_tool_call("CA1", "call_1", name="answer_step", arguments=said, output=street, ok=True)
    records.save_usage("CA1", "gpt-realtime-2.1", input_text=5)


def test_without_words_a_call_keeps_its_shape_and_nothing_that_was_said(database_url: str) -> None:
    records = Records(database_url, store_words=False)
    records.start()
    tell_a_whole_call(records)
    assert records.settled(SOON_S)
    call = records.get_call("CA1")
    records.stop(1)
    assert call is not None
    assert not [word for word in WORDS if word in repr(call)]
    assert [(turn["kind"], turn["heard_ms"]) for turn in call["turns"]] == [
        ("caller", None),
        ("speak", 400),
        ("keys", None),
    ]
    assert (call["answered_steps"], call["breaches"][0]["what"]) == (1, "unasked_question")
    assert (call["tool_calls"][0]["name"], call["tool_calls"][0]["ok"]) == ("answer_step", True)


def test_without_words_no_byte_of_the_file_holds_them(sqlite_url: str, tmp_path: Path) -> None:
    records = Records(sqlite_url, store_words=False)
    records.start()
    tell_a_whole_call(records)
    assert records.settled(SOON_S)
    held = b"".join(path.read_bytes() for path in tmp_path.glob("kav.db*"))
    records.stop(1)
    assert b"locksmith" in held
    assert not [word for word in WORDS if word.encode() in held]


def test_with_words_they_are_kept(database_url: str, start_records: Callable[..., Records]) -> None:
    records = start_records(database_url)
    tell_a_whole_call(records)
    assert records.settled(SOON_S)
    assert [word for word in WORDS if word not in repr(records.get_call("CA1"))] == []


@pytest.mark.parametrize(
    ("store_words", "log_words", "told"),
    [(True, True, WORDS), (True, False, ()), (False, True, ()), (False, False, ())],
)
def test_a_log_line_in_a_records_place_holds_words_only_where_they_are_stored_and_logged(
    sqlite_url: str, caplog: pytest.LogCaptureFixture, store_words: bool, log_words: bool, told: tuple[str, ...]
) -> None:
    records = Records(sqlite_url, store_words=store_words, log_words=log_words)
    tell_a_whole_call(records)
    assert records.stop(0.1) == 8
    lines = "".join(message.encode().decode("unicode_escape") for message in caplog.messages)
    assert len(caplog.messages) == 8
    assert [word for word in WORDS if word in lines] == list(told)
    assert "+972501234567" not in lines


def test_words_that_are_not_logged_are_told_by_their_length(sqlite_url: str, caplog: pytest.LogCaptureFixture) -> None:
    records = Records(sqlite_url)
    records.save_turn("CA1", 1, who="caller", text="תחזרו", at_ms=5)
    records.save_turn("CA1", 1, text="תחזרו אליי", heard_ms=3)  # joined with the first
    assert records.stop(0) == 1
    record = json.loads(caplog.messages[0])["record"]
    assert (record["text"], record["at_ms"], record["heard_ms"], record["who"]) == ("[10 characters]", 5, 3, "caller")

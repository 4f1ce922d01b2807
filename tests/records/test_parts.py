"""Guards what a call brought: each part can be told again and again, in pieces, and the row is the sum of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine

from kav.records import reading, repository
from kav.records.errors import InvalidRecordError
from kav.records.models import TEXT_CHARS
from kav.records.operations import Save
from kav.records.parts import Part, PartRecord
from kav.records.repository import CallRecord, StreamRecord

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TURN = {
    "text": st.sampled_from(["", "שלום", "שלום, מה שלומך"]),
    "heard": st.sampled_from(["", "שלום"]),
    "heard_ms": st.sampled_from([0, 400]),
    "latency_ms": st.sampled_from([612, 612.4]),
}
USAGE = {"input_text": st.integers(0, 9), "output_audio": st.integers(0, 9), "cost_micro_usd": st.integers(0, 9)}
ANSWER = {"value": st.sampled_from(["חיפה", "עכו"]), "unanswered": st.sampled_from(["dont_know"])}
CALL = {
    "direction": st.sampled_from(["inbound", "outbound"]),
    "business": st.sampled_from(["clinic", "locksmith"]),
    "created_at": st.sampled_from([NOW - timedelta(seconds=5), NOW + timedelta(seconds=5)]),
    "flow_done": st.booleans(),
}


def told(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """What is told of one row, in up to five pieces; anything may be missing, or None."""
    optional = {name: st.none() | values for name, values in fields.items()}
    return st.lists(st.fixed_dictionaries({}, optional=optional), min_size=1, max_size=5)


def save(connection: Connection, part: Part, key: str | int, **known: Any) -> None:  # noqa: ANN401 - any column
    repository.save(connection, PartRecord(part, "CA1", key, known, NOW))


def call(connection: Connection, call_sid: str = "CA1") -> dict[str, Any]:
    found = reading.get_call(connection, call_sid)
    assert found is not None
    return found


def test_a_turn_is_told_in_pieces_as_they_become_known(connection: Connection) -> None:
    save(connection, "turns", 1, at_ms=1200, who="bot", kind="speak", text="באיזו עיר", audio_ms=900)
    save(connection, "turns", 1, text="באיזו עיר אתם?", audio_ms=1800, latency_ms=640)
    save(connection, "turns", 1, heard="באיזו", heard_ms=500, text=None)
    (turn,) = call(connection)["turns"]
    assert (turn["text"], turn["heard"], turn["heard_ms"]) == ("באיזו עיר אתם?", "באיזו", 500)
    assert (turn["at_ms"], turn["who"], turn["audio_ms"], turn["latency_ms"]) == (1200, "bot", 1800, 640)


def test_parts_come_back_in_their_order_and_of_their_call_only(connection: Connection) -> None:
    for number in (10, 2, 1):
        save(connection, "turns", number, text=str(number))
        save(connection, "breaches", number, what="unasked_question")
        save(connection, "tool_calls", f"call_{number}", at_ms=number)
    save(connection, "answers", "urgent", position=2)
    save(connection, "answers", "city", position=1)
    repository.save(connection, PartRecord("turns", "CA2", 1, {"text": "another call's"}, NOW))
    stored = call(connection)
    assert [turn["text"] for turn in stored["turns"]] == ["1", "2", "10"]
    assert [breach["number"] for breach in stored["breaches"]] == [1, 2, 10]
    assert [tool["call_id"] for tool in stored["tool_calls"]] == ["call_1", "call_2", "call_10"]
    assert [answer["step"] for answer in stored["answers"]] == ["city", "urgent"]
    assert stored["streams"] == stored["usage"] == []


def test_a_corrected_answer_takes_back_what_was_said_before(connection: Connection) -> None:
    save(connection, "answers", "city", unanswered="dont_know", position=1)
    assert call(connection)["answered_steps"] == 0
    save(connection, "answers", "city", value="חיפה", language="he", position=1)
    (answer,) = call(connection)["answers"]
    assert (answer["value"], answer["unanswered"], call(connection)["answered_steps"]) == ("חיפה", None, 1)
    save(connection, "answers", "city", unanswered="refused", position=1)
    (answer,) = call(connection)["answers"]
    assert (answer["value"], answer["unanswered"], call(connection)["answered_steps"]) == (None, "refused", 0)


def test_a_tool_call_begins_and_ends(connection: Connection) -> None:
    save(connection, "tool_calls", "call_1", name="free_slots", arguments='{"day": "tuesday"}', at_ms=5000)
    save(connection, "tool_calls", "call_1", output="9:00, 11:00", duration_ms=312.6, ok=True)
    (tool,) = call(connection)["tool_calls"]
    assert (tool["name"], tool["output"], tool["duration_ms"], tool["ok"]) == ("free_slots", "9:00, 11:00", 313, True)


def test_usage_only_grows_and_the_call_costs_the_sum_of_its_models(connection: Connection) -> None:
    save(connection, "usage", "gpt-realtime-2.1", responses=4, input_text=900, cost_micro_usd=7206)
    save(connection, "usage", "gpt-realtime-2.1", responses=3, input_text=700, cost_micro_usd=6000)
    save(connection, "usage", "gpt-transcribe", audio_s=20.5, cost_micro_usd=1538)
    stored = call(connection)
    assert [usage["responses"] for usage in stored["usage"]] == [4, None]
    assert (stored["usage"][0]["input_text"], stored["usage"][1]["audio_s"]) == (900, 20.5)
    assert stored["cost_micro_usd"] == 8744


def test_a_model_without_a_price_leaves_the_calls_cost_that_of_the_others_and_says_so(connection: Connection) -> None:
    save(connection, "usage", "gpt-of-tomorrow", input_text=5)
    assert (call(connection)["cost_micro_usd"], call(connection)["cost_is_partial"]) == (None, True)
    save(connection, "usage", "gpt-realtime-2.1", cost_micro_usd=7206)
    assert (call(connection)["cost_micro_usd"], call(connection)["cost_is_partial"]) == (7206, True)
    save(connection, "usage", "gpt-of-tomorrow", cost_micro_usd=4)
    assert (call(connection)["cost_micro_usd"], call(connection)["cost_is_partial"]) == (7210, False)


def test_a_calls_barge_ins_are_those_of_all_its_streams(connection: Connection) -> None:
    for stream_sid, barge_ins in (("MZ1", 2), ("MZ2", 1), ("MZ1", 3)):
        repository.save(connection, StreamRecord(stream_sid, "CA1", {"barge_ins": barge_ins}, NOW))
    assert call(connection)["barge_ins"] == 4


def test_what_a_call_came_to_stands_on_its_row(connection: Connection) -> None:
    repository.save(connection, CallRecord("CA1", {"language": "he", "flow_done": True, "summary": "דלת בחיפה"}, NOW))
    repository.save(connection, CallRecord("CA1", {"flow_done": None}, NOW))
    stored = call(connection)
    assert (stored["language"], stored["flow_done"], stored["summary"]) == ("he", True, "דלת בחיפה")


def test_texts_are_bounded_and_storable(connection: Connection) -> None:
    save(connection, "turns", 1, text="\x00\ud800" + "א" * 50_000, language="x" * 99)
    save(connection, "tool_calls", "call_" * 99, output="b" * 50_000)
    stored = call(connection)
    assert stored["turns"][0]["text"] == "א" * TEXT_CHARS
    assert len(stored["turns"][0]["language"]) == 16
    assert (len(stored["tool_calls"][0]["output"]), len(stored["tool_calls"][0]["call_id"])) == (TEXT_CHARS, 64)


@pytest.mark.parametrize(("call_sid", "key"), [("", "city"), ("CA1", "")])
def test_a_part_without_its_call_or_its_key_is_refused(connection: Connection, call_sid: str, key: str) -> None:
    with pytest.raises(InvalidRecordError):
        repository.save(connection, PartRecord("answers", call_sid, key, {}, NOW))


stories = (
    st.tuples(st.just("turns"), told(TURN))
    | st.tuples(st.just("usage"), told(USAGE))
    | st.tuples(st.just("answers"), told(ANSWER))
    | st.tuples(st.just("calls"), told(CALL))
)


def record(table: str, call_sid: str, known: dict[str, Any], second: int) -> Save:
    at = NOW + timedelta(seconds=second)
    if table == "calls":
        return Save(CallRecord(call_sid, known, at))  # type: ignore[arg-type]  # the strategies' keys
    key = 1 if table == "turns" else "gpt-realtime-2.1"
    return Save(PartRecord(table, call_sid, key, known, at))  # type: ignore[arg-type]  # one of the parts


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=stories, again=st.booleans())
def test_joining_records_that_wait_changes_nothing_in_the_row(
    engine: Engine, story: tuple[str, list[dict[str, Any]]], again: bool
) -> None:
    table, pieces = story
    joined = record(table, "CA2", pieces[0], 0)
    for second, known in enumerate(pieces[1:], start=1):
        joined = joined.joined(record(table, "CA2", known, second))
    with engine.connect() as connection:
        for second, known in enumerate(pieces):
            for _ in range(1 + again):
                record(table, "CA1", known, second).apply(connection)
        joined.apply(connection)
        one_by_one, at_once = (call(connection, sid) for sid in ("CA1", "CA2"))
        connection.rollback()
    assert about(one_by_one, table) == about(at_once, table)


def about(stored: dict[str, Any], table: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [stored] if table == "calls" else stored[table]
    return [{**row, "call_sid": ""} for row in rows]

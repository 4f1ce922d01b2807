"""What a storm asks of a call's record: each thing that is missing, wrong or invented is named."""

from dataclasses import replace
from typing import Any

import pytest

from chaos.records import Kept, Seen, faults

SEEN = Seen(
    "CA1",
    told=[("completed", 4), ("completed", 5)],
    answered=True,
    served=frozenset({"MZ1"}),
    opened=frozenset({"MZ1", "MZ2"}),
    heard_ms=900,
    done=(1, 3),
)
CALL = {
    "end_reason": "caller_hung_up",
    "started_at": "2026-11-23 10:00:00",
    "ended_at": "2026-11-23 10:00:05",
    "terminal_status": "completed",
    "duration_s": 5,
    "cost_micro_usd": 120,
}
STREAM = {
    "stream_sid": "MZ1",
    "opened_at": "2026-11-23 10:00:00",
    "ended_at": "2026-11-23 10:00:05",
    "end_reason": "caller_hung_up",
    "socket_ghost_ms": 1.0,
    "frames_in": 250,
    "frames_out": 4,
}
TURN = {"who": "bot", "text": "shalom"}
USED = {"model": "gpt-realtime-2.1", "responses": 2, "cost_micro_usd": 120}


def kept(**other: Any) -> Kept:  # noqa: ANN401 - columns of any type
    return Kept({**CALL, **other}, [STREAM], [TURN], [USED])


def test_a_record_that_tells_everything_is_complete() -> None:
    assert faults(SEEN, kept()) == []


def test_a_call_that_nobody_wrote_down_is_missed() -> None:
    assert faults(SEEN, Kept()) == ["no record at all"]


@pytest.mark.parametrize("column", ["end_reason", "ended_at", "terminal_status", "started_at", "cost_micro_usd"])
def test_every_column_of_a_call_is_missed(column: str) -> None:
    assert len(faults(replace(SEEN, told=()), kept(**{column: None}))) == 1


@pytest.mark.parametrize(
    "wrong",
    [{"duration_s": 4}, {"duration_s": None}, {"terminal_status": "failed"}, {"ended_at": "2026-11-23 09:59:59"}],
)
def test_what_twilio_did_not_say_is_wrong(wrong: dict[str, Any]) -> None:
    assert faults(SEEN, kept(**wrong))


@pytest.mark.parametrize("column", ["opened_at", "ended_at", "end_reason", "socket_ghost_ms", "frames_in"])
def test_every_column_of_a_stream_is_missed(column: str) -> None:
    assert faults(SEEN, replace(kept(), streams=[{**STREAM, column: None}])) == [f"no {column} of a stream"]


def test_a_stream_that_kav_served_is_missed_and_an_intruder_s_is_one_too_many() -> None:
    assert faults(SEEN, replace(kept(), streams=[])) == ["a stream is missing: MZ1"]
    assert faults(SEEN, replace(kept(), streams=[STREAM, {**STREAM, "stream_sid": "MZ9"}])) == [
        "a stream that is nobody's: MZ9"
    ]


def test_words_that_were_heard_and_responses_that_were_paid_for_are_missed() -> None:
    assert len(faults(SEEN, replace(kept(), turns=[]))) == 1
    assert len(faults(SEEN, replace(kept(), usage=[]))) == 1
    assert len(faults(SEEN, replace(kept(), usage=[{**USED, "responses": 9}]))) == 1

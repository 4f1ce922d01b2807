"""Guards how a call is told: heard apart from unheard, what each turn was taken for, and the picture over time."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kav.call import events as ev
from kav.console.account import Account, account, of_chronicle
from kav.console.timeline import MARGIN, timeline
from tests.call.test_conversation import FLOW, GREETING, Talk
from tests.console.desk import CLINIC

SIGN = 18.0
"""Units that a sign is wide and high."""
BARE: dict[str, Any] = dict.fromkeys(
    ("phrase", "text", "heard", "heard_ms", "language", "step", "latency_ms", "judge_ms", "audio_ms", "kind")
)


def turn(number: int, who: str, at_ms: int, **known: Any) -> dict[str, Any]:  # noqa: ANN401 - a row's values
    return BARE | {"number": number, "who": who, "at_ms": at_ms} | known


def told(*turns: dict[str, Any], **more: Any) -> Account:  # noqa: ANN401 - rows
    return account({"turns": list(turns), **more}, CLINIC)


def tool(name: str, at_ms: int) -> dict[str, Any]:
    return {"name": name, "at_ms": at_ms, "call_id": name, "arguments": "", "output": "", "duration_ms": 1}


def test_what_was_never_heard_stands_apart() -> None:
    (said,) = told(turn(1, "bot", 0, text="One two three", heard="One two", audio_ms=900, heard_ms=600)).turns
    assert (said.text, said.unheard, said.cut, said.cut_ms) == ("One two", "three", True, 600)


def test_what_was_heard_whole_has_nothing_apart() -> None:
    (said,) = told(turn(1, "bot", 0, text="One two", heard="One two", audio_ms=900)).turns
    assert (said.text, said.unheard, said.cut) == ("One two", "", False)


def test_of_a_sentence_cut_before_its_first_word_all_is_unheard() -> None:
    (said,) = told(turn(1, "bot", 0, text="One two", heard="", audio_ms=900, heard_ms=0)).turns
    assert (said.text, said.unheard, said.cut) == ("", "One two", True)


CUT: dict[str, Any] = {"text": "a b", "heard": "a", "audio_ms": 900, "heard_ms": 400}
UNHEARD: dict[str, Any] = {"text": "a b", "heard": "", "audio_ms": 900, "heard_ms": 0}
WHOLE: dict[str, Any] = {"text": "a b", "audio_ms": 900}
SPOKEN: dict[str, Any] = {"kind": "caller", "audio_ms": 600}
KEYS: dict[str, Any] = {"kind": "keys", "audio_ms": 0}


def spoken_over(*turns: dict[str, Any], counted: int | None) -> list[int]:
    """The turns that are told as interrupted, of a call whose record counts so many."""
    found = told(*turns, barge_ins=counted)
    assert found.barge_ins == counted or counted is None
    return [said.number for said in found.turns if said.barge_in]


@pytest.mark.parametrize("counted", [1, None])
def test_what_the_calls_end_cut_is_no_barge_in(counted: int | None) -> None:
    turns = (turn(1, "bot", 0, **CUT), turn(2, "caller", 1000, **SPOKEN), turn(3, "bot", 1500, **CUT))
    assert spoken_over(*turns, counted=counted) == [1]


@pytest.mark.parametrize("counted", [0, None])
def test_what_a_lost_stream_or_a_key_cut_is_no_barge_in(counted: int | None) -> None:
    lost = (turn(1, "bot", 0, **CUT), turn(2, "bot", 2000, **WHOLE), turn(3, "caller", 5000, **SPOKEN))
    assert spoken_over(*lost, counted=counted) == []
    keyed = (turn(1, "bot", 0, **CUT), turn(2, "caller", 3000, **KEYS), turn(3, "caller", 6000, **SPOKEN))
    assert spoken_over(*keyed, counted=counted) == []


def test_no_more_turns_are_barge_ins_than_the_record_counts() -> None:
    by_a_key = (turn(1, "bot", 0, **CUT), turn(2, "caller", 4000, **SPOKEN), turn(3, "caller", 4500, **KEYS))
    by_voice = (turn(4, "bot", 5000, **CUT), turn(5, "caller", 6010, **SPOKEN))
    assert spoken_over(*by_a_key, counted=0) == []
    assert spoken_over(*by_a_key, *by_voice, counted=1) == [4], "the caller began to speak as the bot fell silent"


def test_what_waited_behind_a_sentence_that_was_spoken_over_is_no_second_barge_in() -> None:
    turns = (turn(1, "bot", 0, **CUT), turn(2, "bot", 300, **UNHEARD), turn(3, "caller", 1000, **SPOKEN))
    assert spoken_over(*turns, counted=1) == spoken_over(*turns, counted=None) == [1]


def test_who_speaks_before_the_last_mark_is_back_has_spoken_over_a_sentence_that_was_heard_whole() -> None:
    turns = (turn(1, "bot", 0, **WHOLE), turn(2, "caller", 1550, **SPOKEN), turn(3, "bot", 2000, **CUT))
    (said, *_), picture = told(*turns, barge_ins=1).turns, timeline(told(*turns, barge_ins=1))
    assert (said.barge_in, said.cut) == (True, False)
    assert [mark.at_ms for mark in picture.marks if mark.kind == "barge_in"] == [900]


def test_who_spoke_when_the_stream_was_lost_has_spoken_over_the_bot_all_the_same() -> None:
    turns = (turn(1, "bot", 0, **CUT), turn(2, "bot", 2000, **WHOLE), turn(3, "caller", 9000, **SPOKEN))
    assert spoken_over(*turns, counted=1) == [1]


def test_words_that_are_not_stored_leave_the_rest_of_the_call() -> None:
    (said,) = told(turn(1, "bot", 0, audio_ms=900, heard_ms=600)).turns
    assert (said.text, said.unheard, said.cut, said.audio_ms) == ("", "", True, 900)


def test_a_caller_began_before_their_turn_was_put_down() -> None:
    (said,) = told(turn(1, "caller", 5000, audio_ms=1200)).turns
    assert (said.begins_ms, said.ends_ms) == (3800, 5000)


def test_words_that_come_while_others_play_are_heard_after_them() -> None:
    first, second, third = told(
        turn(1, "bot", 0, audio_ms=3000), turn(2, "bot", 400, audio_ms=1000), turn(3, "bot", 9000, audio_ms=500)
    ).turns
    assert (first.begins_ms, second.begins_ms, third.begins_ms) == (0, 3000, 9000)


def test_a_judgement_is_about_the_turn_before_it() -> None:
    turns = told(
        turn(1, "caller", 1000),
        turn(2, "bot", 1500),
        turn(3, "caller", 4000),
        tool_calls=[tool("answer_step", 1300), tool("side_question", 4200), tool("free_slots", 4300)],
    ).turns
    assert [said.judgement for said in turns] == ["answer_step", "", "side_question"]


def test_a_turn_that_is_judged_twice_shows_the_first_judgement() -> None:
    (said,) = told(turn(1, "caller", 0), tool_calls=[tool("answer_step", 10), tool("side_question", 20)]).turns
    assert said.judgement == "answer_step"


def test_judgements_are_no_tools() -> None:
    assert [one["name"] for one in told(tool_calls=[tool("unclear", 0), tool("free_slots", 1)]).tools] == ["free_slots"]


def test_a_change_of_language_is_shown_where_it_happens() -> None:
    spoken = ("he", "he", "", "en", "en", "he")
    turns = told(*(turn(number, "caller", number, language=code) for number, code in enumerate(spoken))).turns
    assert [said.switched for said in turns] == [False, False, False, True, False, True]
    assert told(turn(1, "caller", 0, language="he"), turn(2, "bot", 1, language="en")).languages == ("he", "en")


def test_steps_stand_in_the_flows_order_with_their_answers() -> None:
    rows = [{"step": "gone", "value": "x", "unanswered": None}, {"step": "name", "value": "Dana", "unanswered": None}]
    steps = account({"answers": rows}, CLINIC, active="day").steps
    assert [(step.step, step.value, step.active) for step in steps] == [
        ("name", "Dana", False),
        ("day", None, True),
        ("gone", "x", False),
    ]


def test_a_call_that_goes_on_is_told_as_its_record_will_be() -> None:
    talk = Talk().started()
    talk.speak("greeting", 1000, GREETING)
    talk.now += 0.5
    talk.turn()
    talk.do(ev.CallerWords(talk.now, "user_item", "מה השעה?"))
    talk.judge("side_question", language="he")
    now = account(of_chronicle(talk.talk), FLOW)
    greeting, question = now.turns
    assert (greeting.cut, greeting.who) == (True, "bot")
    assert (question.text, question.judgement) == ("מה השעה?", "side_question")
    assert now.barge_ins == now.side_questions == 1


# The picture


def test_heard_and_discarded_words_are_drawn_apart() -> None:
    bot = turn(1, "bot", 1000, text="a b", heard="a", audio_ms=2000, heard_ms=500)
    picture = timeline(told(bot, turn(2, "caller", 2100, **SPOKEN)))
    heard, discarded, _ = picture.bars
    assert (heard.kind, discarded.kind) == ("heard", "discarded")
    assert abs(heard.x + heard.width - discarded.x) <= 0.2
    assert abs(discarded.width - 3 * heard.width) <= 0.5
    (barge_in,) = [mark for mark in picture.marks if mark.kind == "barge_in"]
    assert abs(barge_in.x - discarded.x) <= 0.2


def test_each_mark_that_came_back_stands_where_the_bot_was_heard_to() -> None:
    picture = timeline(told(turn(1, "bot", 1000, audio_ms=2000, marks="[1500,3000]"), turn(2, "bot", 4000)))
    (bar, *_), (halfway, end) = picture.bars, picture.heard_so_far
    assert (halfway.at_ms, end.at_ms) == (1500, 3000)
    assert abs(end.x - (bar.x + bar.width)) <= 0.2
    assert abs(halfway.x - (bar.x + bar.width / 4)) <= 0.2


def test_every_event_has_its_mark_in_the_order_of_time() -> None:
    picture = timeline(
        told(
            turn(1, "caller", 1000, language="he"),
            turn(2, "caller", 3000, kind="keys", text="1"),
            turn(3, "caller", 5000, language="en"),
            tool_calls=[tool("side_question", 1100), tool("free_slots", 6000)],
            breaches=[{"at_ms": 500, "what": "x", "detail": ""}],
        )
    )
    assert [mark.kind for mark in picture.marks] == ["breach", "side_question", "keys", "language", "tool"]


def test_what_happens_at_once_hides_nothing_and_stays_at_its_moment() -> None:
    bot = turn(1, "bot", 0, text="a b", heard="a", audio_ms=3000, heard_ms=1000)
    asks = turn(2, "caller", 2000, kind="caller", audio_ms=1000)
    picture = timeline(told(bot, asks, tool_calls=[tool("side_question", 2100)]))
    barge_in, question = picture.marks
    assert (barge_in.kind, question.kind) == ("barge_in", "side_question")
    assert barge_in.x == barge_in.sign_x == question.x == question.sign_x
    assert abs(barge_in.sign_y - question.sign_y) >= SIGN


def test_the_lanes_stand_in_order_and_apart() -> None:
    lanes = timeline(told(turn(1, "bot", 0, audio_ms=500))).lanes
    assert [lane.name for lane in lanes] == ["events", "caller", "heard", "discarded", "marks"]
    assert all(upper.y + upper.height < lower.y for upper, lower in pairwise(lanes))


def test_what_was_never_heard_twice_over_is_drawn_in_two_rows() -> None:
    cut = {"text": "a b", "heard": "a", "audio_ms": 30_000, "heard_ms": 500}
    picture = timeline(told(turn(1, "bot", 0, **cut), turn(2, "caller", 1500), turn(3, "bot", 2000, **cut)))
    first, second = (bar for bar in picture.bars if bar.kind == "discarded")
    assert first.x + first.width > second.x, "they would lie over one another"
    assert first.y + first.height <= second.y
    assert second.y + second.height <= picture.lane["discarded"].y + picture.lane["discarded"].height


EVENTS = st.lists(st.integers(0, 60_000), max_size=60)


@given(EVENTS)
def test_no_sign_lies_over_another_or_outside(moments: list[int]) -> None:
    picture = timeline(told(breaches=[{"at_ms": at_ms, "what": "x", "detail": ""} for at_ms in moments]))
    lane = picture.lane["events"]
    for place, mark in enumerate(picture.marks):
        assert mark.x <= mark.sign_x <= picture.width - SIGN / 2
        assert lane.y <= mark.sign_y - SIGN / 2 <= mark.sign_y + SIGN / 2 <= lane.y + lane.height
        for other in picture.marks[:place]:
            assert max(abs(mark.sign_x - other.sign_x), abs(mark.sign_y - other.sign_y)) >= SIGN


MOMENT = st.integers(0, 3_600_000)
TURNS = st.lists(
    st.builds(
        lambda who, at_ms, audio_ms, heard_ms: turn(1, who, at_ms, audio_ms=audio_ms, heard_ms=heard_ms),
        st.sampled_from(("bot", "caller")),
        MOMENT,
        st.none() | st.integers(0, 60_000),
        st.none() | st.integers(0, 60_000),
    ),
    max_size=30,
)


@given(TURNS)
def test_nothing_is_drawn_outside_the_picture(turns: list[dict[str, Any]]) -> None:
    picture = timeline(told(*turns))
    assert all(bar.x >= 0 and bar.x + bar.width <= picture.width + 2 for bar in picture.bars)
    assert all(MARGIN - 1 <= mark.x <= picture.width for mark in picture.marks)
    assert all(tick.x <= picture.width for tick in picture.ticks)
    assert len(picture.ticks) < 400

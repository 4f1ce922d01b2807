"""Guards how a real model is judged: by what was heard and by Kav's record, and not at all where neither tells."""

from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import pytest

from rehearsal.expectation import Answer
from rehearsal.live.adherence import adherence, in_percent, is_in, share
from rehearsal.live.choice import estimate, why_not
from rehearsal.live.player import LivePerformance, Sound, Spoken, joined
from rehearsal.live.record import Record, read
from rehearsal.live.texts import texts_for
from rehearsal.scenario import FOLDER, Scenario, load
from rehearsal.twilio.playback import Segment

TEXTS = texts_for(load(FOLDER / "side_question.yaml"))
GREETING = "שלום, הגעתם למנעולי אורן. ספרו לי בקצרה, מה קרה?"
RESUME = "רוצה שנמשיך מאיפה שהיינו?"


@pytest.fixture
def scenario() -> Scenario:
    """The caller answers, asks the time, says yes to go on, answers, and hangs up."""
    return load(FOLDER / "side_question.yaml")


def bot(number: int, at_ms: int, text: str, heard: str | None = None) -> dict[str, Any]:
    return {"number": number, "who": "bot", "kind": "speak", "at_ms": at_ms, "text": text, "heard": heard}


def kept_by(scenario: Scenario) -> LivePerformance:
    """A call as it goes when everybody keeps to the rules: a line every ten seconds, an answer two seconds later."""
    steps = [step for step in scenario.steps if step.says is not None]
    lines = tuple(Spoken(step, step.language or "he", 10.0 * n, 10.0 * n + 1) for n, step in enumerate(steps, 1))
    words = [GREETING, "באיזו עיר אתם?", f"השעה שלוש. {RESUME}", "באיזו עיר אתם?", "טוב, מה הכתובת המלאה?"]
    return LivePerformance(
        began_at=0.0,
        lines=lines,
        sounds=tuple(Sound(10.0 * n + 2, 10.0 * n + 4) for n in range(5)),
        ended_by=(50.0,),
        fins=(50.1,),
        person="+972501111111",
        direction="inbound",
        streams=1,
        statuses=("completed",),
        announced=(),
        dialled=(),
        violations=(),
        record=Record(
            call={"end_reason": "caller_hung_up", "direction": "inbound"},
            streams=({"socket_ghost_ms": 3.0},),
            turns=tuple(bot(n, 10_000 * n + 2000, text) for n, text in enumerate(words)),
            answers=(
                {"step": "problem", "value": "הדלת ננעלה", "unanswered": None},
                {"step": "city", "value": "תל אביב", "unanswered": None},
            ),
            breaches=(),
        ),
    )


def broken(scenario: Scenario, seen: LivePerformance) -> list[str]:
    return [verdict.expected for verdict in adherence(scenario, TEXTS, seen) if verdict.ok is False]


def with_turn(seen: LivePerformance, number: int, text: str) -> LivePerformance:
    assert seen.record.turns is not None
    turns = tuple({**turn, "text": text} if turn["number"] == number else turn for turn in seen.record.turns)
    return replace(seen, record=replace(seen.record, turns=turns))


def test_a_call_in_which_all_keep_to_the_rules_keeps_every_promise(scenario: Scenario) -> None:
    verdicts = adherence(scenario, TEXTS, kept_by(scenario))
    assert [verdict for verdict in verdicts if verdict.ok is not True] == []
    assert len(verdicts) > 20


def test_without_the_resume_phrase_after_a_side_question_a_promise_is_broken(scenario: Scenario) -> None:
    assert broken(scenario, with_turn(kept_by(scenario), 2, "השעה שלוש. נמשיך?")) == [
        "after «מה השעה?» Kav asks to resume"
    ]


def test_an_answer_in_another_language_breaks_the_promise_of_that_line(scenario: Scenario) -> None:
    seen = with_turn(kept_by(scenario), 4, "Fine, and what is your address? מה הכתובת המלאה")
    assert "what follows «אני בתל אביב» is in the caller's language (he)" in broken(scenario, seen)


def test_questions_out_of_their_order_break_a_promise(scenario: Scenario) -> None:
    seen = with_turn(with_turn(kept_by(scenario), 1, "מה הכתובת המלאה?"), 4, "באיזו עיר אתם?")
    assert "the bot says «מה הכתובת המלאה?» in its place" in broken(scenario, seen)


def test_an_answer_that_was_not_recorded_breaks_a_promise(scenario: Scenario) -> None:
    seen = kept_by(scenario)
    assert seen.record.answers is not None
    without = replace(seen, record=replace(seen.record, answers=seen.record.answers[:1]))
    assert broken(scenario, without) == ["an answer to city is on record"]


def test_answers_out_of_the_scripts_order_break_a_promise(scenario: Scenario) -> None:
    seen = kept_by(scenario)
    assert seen.record.answers is not None
    turned = replace(seen, record=replace(seen.record, answers=seen.record.answers[::-1]))
    assert broken(scenario, turned) == ["the answers came in the script's order"]


def test_a_breach_that_kav_noted_is_a_broken_promise(scenario: Scenario) -> None:
    seen = kept_by(scenario)
    noted = ({"what": "said goodbye unasked", "detail": None},)
    assert len(broken(scenario, replace(seen, record=replace(seen.record, breaches=noted)))) == 1


def test_what_the_record_does_not_tell_is_neither_kept_nor_broken(scenario: Scenario) -> None:
    seen = replace(kept_by(scenario), record=Record())
    verdicts = adherence(scenario, TEXTS, seen)
    assert broken(scenario, seen) == []
    unknown = [verdict.expected for verdict in verdicts if verdict.ok is None]
    assert "the record says why it ended: caller_hung_up" in unknown
    assert share(verdicts) == (len(verdicts) - len(unknown), len(verdicts) - len(unknown))


def test_a_line_that_nobody_answers_breaks_a_promise(scenario: Scenario) -> None:
    seen = kept_by(scenario)
    assert "«אני בתל אביב» is answered" in broken(scenario, replace(seen, sounds=seen.sounds[:4]))


def test_a_resume_phrase_that_the_caller_spoke_over_is_not_held_against_the_model(scenario: Scenario) -> None:
    seen = kept_by(scenario)
    assert seen.record.turns is not None
    turns = tuple({**turn, "heard": "השעה"} if turn["number"] == 2 else turn for turn in seen.record.turns)
    verdicts = adherence(scenario, TEXTS, replace(seen, record=replace(seen.record, turns=turns)))
    assert [one.ok for one in verdicts if one.expected.endswith("Kav asks to resume")] == [None]


def test_a_step_that_stays_unanswered_has_no_value_on_record(scenario: Scenario) -> None:
    expect = scenario.expect.model_copy(update={"answers": {"problem": Answer(unanswered="dont_know")}})
    unanswered = scenario.model_copy(update={"expect": expect})
    assert broken(unanswered, kept_by(scenario)) == ["no answer to problem is on record"]


def test_a_socket_that_closes_late_or_never_breaks_a_promise(scenario: Scenario) -> None:
    seen = kept_by(scenario)
    assert broken(scenario, replace(seen, fins=(51.5,))) == ["every media socket is closed within 1 s"]
    assert broken(scenario, replace(seen, fins=(None,))) == ["every media socket is closed"]


@pytest.mark.parametrize(("ended_at", "ok"), [(10.6, True), (12.0, False), (9.0, None)])
def test_silence_is_counted_from_the_callers_first_sound(ended_at: float, ok: bool | None) -> None:
    talks_over = load(FOLDER / "talk_over.yaml")
    step = talks_over.steps[0]
    seen = replace(
        kept_by(talks_over), lines=(Spoken(step, "he", 10.0, 11.0),), sounds=(Sound(8.0, ended_at), Sound(13.0, 14.0))
    )
    (silence,) = [one for one in adherence(talks_over, TEXTS, seen) if one.expected.startswith("silence within")]
    assert silence.ok is ok


def test_a_bare_yes_to_another_question_is_expected_as_nobodys_answer() -> None:
    forgets = load(FOLDER / "forgets_to_resume.yaml")
    expected = [verdict.expected for verdict in adherence(forgets, TEXTS, kept_by(forgets))]
    assert not any(text.startswith("an answer to") for text in expected)


def test_a_choice_has_one_right_form_and_the_callers_number_too() -> None:
    locksmith = load(FOLDER / "locksmith.yaml")
    answers = tuple(
        {"step": step, "value": value, "unanswered": None}
        for step, value in {"urgent": "no", "phone": "+972501111111", "name": "David"}.items()
    )
    seen = kept_by(locksmith)
    verdicts = adherence(locksmith, TEXTS, replace(seen, record=replace(seen.record, answers=answers)))
    found = {verdict.expected: verdict.ok for verdict in verdicts}
    assert found["the answer to urgent is 'yes'"] is False
    assert found["the answer to phone is '+972501111111'"] is True
    assert not any(text.startswith("the answer to name") for text in found)


@pytest.mark.parametrize(
    ("text", "language", "right"),
    [
        ("שלום, יש לנו Mazda", "he", True),
        ("Hello there", "he", False),
        ("Hello there", "fr", True),
        ("Здравствуйте", "ru", True),
        ("مرحبا", "ar", True),
        ("מה שלומך", "ar", False),
        ("10:30!", "ru", True),
    ],
)
def test_a_language_is_known_by_its_letters_and_a_brand_is_forgiven(text: str, language: str, right: bool) -> None:
    assert is_in(text, language) is right


def test_the_percentage_is_whole_only_when_every_promise_was_kept() -> None:
    assert in_percent(64, 64) == "adherence: 100 % of 64 checks"
    assert in_percent(199, 200) == "adherence: 99 % of 200 checks"


def test_a_pause_within_a_sentence_is_one_sound_and_a_longer_one_two() -> None:
    second = bytes(8000)
    segments = [Segment(0.0, second), Segment(1.2, second), Segment(4.0, second)]
    assert joined(segments) == [Sound(0.0, 2.2), Sound(4.0, 5.0)]


def test_a_kav_that_has_no_such_tables_leaves_them_unknown(tmp_path: Path) -> None:
    (tmp_path / "kav.db").touch()
    assert read(tmp_path / "kav.db", "CA1") == Record()


def test_what_only_a_scripted_model_can_play_is_not_asked_of_a_real_one(scenario: Scenario) -> None:
    assert why_not(scenario) == ""
    for name in ("model_dies", "does_not_judge", "answers_another_step", "call_id_used_before", "rewords_the_resume"):
        assert why_not(load(FOLDER / f"{name}.yaml")), name


def test_the_price_grows_with_what_is_played(scenario: Scenario) -> None:
    one, two = estimate([scenario]), estimate([scenario, load(FOLDER / "locksmith.yaml")])
    assert 0 < one.usd < two.usd < inf
    assert one.minutes < two.minutes


def test_a_business_has_its_own_words_whoever_calls_and_any_number_else_those_of_the_default() -> None:
    assert TEXTS.order[:2] == ["problem", "city"]
    assert TEXTS.resume["he"] == RESUME
    assert texts_for(load(FOLDER / "english.yaml")).steps == ()
    assert texts_for(load(FOLDER / "outbound_to_the_closing.yaml")).steps != ()

"""Whoever has not heard that the call is recorded hears it with the next words, and no longer than it takes."""

from dataclasses import replace

import pytest

from kav.call import actions as act
from kav.call import events as ev
from kav.call.conversation import Conversation
from kav.call.recording import TRIED_AT_MOST
from tests.call.test_conversation import FLOW, PHRASES, Talk

TOLD = {"he": "השיחה מוקלטת.", "en": "This call is recorded."}
QUESTION = "באיזו עיר?"
RECORDED = replace(
    FLOW,
    recording=TOLD,
    greeting={language: f"{TOLD[language]} {text}" for language, text in FLOW.greeting.items()},
)
GREETING = f"{RECORDED.greeting['he']} {QUESTION}"


@pytest.fixture
def talk() -> Talk:
    return Talk(Conversation(RECORDED, PHRASES, "+972501234567")).started()


def cut_off(talk: Talk, words: str, after_s: float = 0.1) -> None:
    """The bot says it in a second, and the caller speaks before they have heard much of it."""
    talk.items += 1
    talk.speak(f"item{talk.items}", 1000, words)
    talk.now += after_s
    talk.speech()
    talk.commit()


def unclear(talk: Talk) -> act.RequestResponse:
    talk.judge("unclear", language="he")
    return talk.asked_for()


def test_who_talks_over_the_greeting_is_told_with_the_next_words(talk: Talk) -> None:
    cut_off(talk, GREETING)
    talk.judge("answer_step", step="city", value="חיפה", language="he")
    assert (talk.asked_for().kind, talk.asked_for().text) == ("speak", TOLD["he"])


def test_who_has_heard_it_is_not_told_again(talk: Talk) -> None:
    talk.says(GREETING)
    talk.turn()
    talk.judge("answer_step", step="city", value="חיפה", language="he")
    assert (talk.asked_for().kind, talk.asked_for().text) == ("speak", "")


def test_who_has_heard_it_late_is_not_told_again(talk: Talk) -> None:
    cut_off(talk, GREETING)
    talk.judge("answer_step", step="city", value="חיפה", language="he")
    talk.says(f"{TOLD['he']} זה דחוף?")
    talk.turn()
    talk.judge("unclear", language="he")
    assert talk.asked_for().text == ""


def test_a_fixed_phrase_begins_with_it_too(talk: Talk) -> None:
    cut_off(talk, GREETING)
    talk.judge("end_call", language="he")
    assert (talk.asked_for().kind, talk.asked_for().text) == ("phrase", f"{TOLD['he']} {PHRASES['he']['goodbye']}")


def test_it_is_told_in_the_callers_language_and_not_at_all_in_one_that_has_no_such_words(talk: Talk) -> None:
    cut_off(talk, GREETING)
    talk.judge("side_question", question="?", language="en")
    assert talk.asked_for().text == TOLD["en"]
    cut_off(talk, "Yes.")
    talk.judge("side_question", question="?", language="fr")
    assert talk.asked_for().text == ""


def test_a_resume_phrase_that_is_said_on_top_is_said_alone(talk: Talk) -> None:
    cut_off(talk, GREETING)
    talk.judge("side_question", question="?", language="he")
    talk.speak("answer", 1000, "השיחה מוקלטת. כן.")
    assert (talk.asked_for().phrase, talk.asked_for().text) == ("resume", PHRASES["he"]["resume"])


def test_a_model_that_never_says_it_is_not_asked_for_ever(talk: Talk) -> None:
    cut_off(talk, GREETING)
    asked = []
    for _ in range(TRIED_AT_MOST + 1):
        talk.judge("side_question", question="?", language="he")
        asked.append(bool(talk.asked_for().text))
        cut_off(talk, f"כן. {PHRASES['he']['resume']}", after_s=0.99)
    assert asked == [True] * TRIED_AT_MOST + [False]


def test_a_call_without_a_script_is_told_too() -> None:
    flow = replace(RECORDED, steps=())
    talk = Talk(Conversation(flow, PHRASES)).started()
    cut_off(talk, RECORDED.greeting["he"])
    assert (talk.asked_for().kind, talk.asked_for().text) == ("answer", TOLD["he"])


def test_a_greeting_that_is_said_again_says_it_once(talk: Talk) -> None:
    cut_off(talk, GREETING)
    talk.judge("unclear", language="he", reason="not_understood")
    assert (talk.asked_for().phrase, talk.asked_for().text) == ("greeting", GREETING)


def test_a_fresh_stream_says_it_before_it_goes_on() -> None:
    phrases = {**PHRASES, "he": {**PHRASES["he"], "resumed": "סליחה, נותקנו."}}
    first = Talk(Conversation(RECORDED, phrases)).started()
    first.speak("greeting", 1000, GREETING)
    first.now += 0.1
    first.do(ev.Ended(first.now))
    assert first.talk.opening("resumed").text == f"{TOLD['he']} סליחה, נותקנו. {QUESTION}"

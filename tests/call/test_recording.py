"""Whoever has not heard that the call is recorded hears it before the next words, and once."""

from dataclasses import replace

import pytest

from kav.call import events as ev
from kav.call.conversation import Conversation
from kav.call.deadlines import CallRules
from kav.call.recording import TOLD_AT_MOST
from kav.call.session import CallSession
from tests.call.test_conversation import FLOW, PHRASES, Talk

TOLD = {"he": "השיחה מוקלטת.", "en": "This call is recorded."}
QUESTION = "באיזו עיר?"
RECORDED = replace(
    FLOW,
    recording=TOLD,
    greeting={language: f"{TOLD[language]} {text}" for language, text in FLOW.greeting.items()},
)
GREETING = f"{RECORDED.greeting['he']} {QUESTION}"
RULES = CallRules(max_call_s=900, reply_timeout_s=8, recorded=True)


def recorded(conversation: Conversation, rules: CallRules = RULES) -> Talk:
    talk = Talk(conversation)
    talk.session = CallSession(rules, conversation)
    return talk.started()


@pytest.fixture
def talk() -> Talk:
    return recorded(Conversation(RECORDED, PHRASES, "+972501234567"))


def cut_off(talk: Talk, words: str, after_s: float = 0.1) -> None:
    """The bot says it in a second, and the caller speaks after so much of it."""
    talk.items += 1
    talk.speak(f"item{talk.items}", 1000, words)
    talk.now += after_s
    talk.speech()
    if talk.requested is not None:  # what was to follow: it is dead before it is born
        talk.created()
        talk.finish("cancelled")
    talk.commit()


def asked(talk: Talk) -> tuple[str, str]:
    return talk.asked_for().phrase, talk.asked_for().text


def test_who_talks_over_the_greeting_is_told_before_the_next_words(talk: Talk) -> None:
    cut_off(talk, GREETING)
    talk.judge("answer_step", step="city", value="חיפה", language="he")
    assert asked(talk) == ("recording", TOLD["he"])
    talk.says(TOLD["he"])
    assert talk.asked_for().kind == "speak"


def test_who_has_heard_the_greeting_is_not_told_again(talk: Talk) -> None:
    talk.says(GREETING)
    talk.turn()
    talk.judge("answer_step", step="city", value="חיפה", language="he")
    assert talk.asked_for().kind == "speak"


def test_who_has_heard_it_late_is_not_told_again(talk: Talk) -> None:
    cut_off(talk, GREETING)
    talk.judge("answer_step", step="city", value="חיפה", language="he")
    talk.says(TOLD["he"])
    talk.says("זה דחוף?")
    talk.turn()
    talk.judge("unclear", language="he")
    assert talk.asked_for().kind == "speak"


def test_a_question_that_was_to_follow_is_not_heard_by_whoever_talks_over_the_announcement(talk: Talk) -> None:
    cut_off(talk, GREETING)
    talk.judge("answer_step", step="city", value="חיפה", language="he")
    cut_off(talk, TOLD["he"], after_s=0.9)
    talk.judge("answer_step", step="urgent", value="yes", language="he")
    assert "urgent" not in talk.talk.lock.answers
    assert asked(talk) == ("recording", TOLD["he"]), "nine tenths of it are not all"


def test_a_fixed_phrase_comes_behind_it_too(talk: Talk) -> None:
    cut_off(talk, GREETING)
    talk.judge("end_call", language="he")
    assert asked(talk) == ("recording", TOLD["he"])
    talk.says(TOLD["he"])
    assert asked(talk) == ("goodbye", PHRASES["he"]["goodbye"])
    talk.says(PHRASES["he"]["goodbye"])
    assert talk.ended


def test_it_is_told_in_the_callers_language(talk: Talk) -> None:
    cut_off(talk, GREETING)
    talk.judge("side_question", question="?", language="en")
    assert asked(talk) == ("recording", TOLD["en"])


def test_where_it_has_no_words_of_its_own_the_model_translates_it_and_that_counts(talk: Talk) -> None:
    cut_off(talk, GREETING)
    talk.judge("side_question", question="?", language="fr")
    assert (*asked(talk), talk.asked_for().language) == ("recording", "", "fr")
    talk.says("Cet appel est enregistré.")
    talk.says("Oui.")
    talk.turn()
    talk.judge("side_question", question="?", language="fr")
    assert talk.asked_for().kind == "speak"


def test_who_talks_over_it_again_and_again_is_not_told_for_ever(talk: Talk) -> None:
    cut_off(talk, GREETING)
    told = []
    for _ in range(TOLD_AT_MOST + 1):
        talk.judge("side_question", question="?", language="he")
        told.append(talk.asked_for().phrase)
        cut_off(talk, TOLD["he"])
    assert told == ["recording"] * TOLD_AT_MOST + [""]


def test_a_call_without_a_script_is_told_once_its_language_is_known() -> None:
    talk = recorded(Conversation(replace(RECORDED, steps=()), PHRASES))
    cut_off(talk, RECORDED.greeting["he"])
    assert talk.asked_for().kind == "answer"
    talk.do(ev.CallerWords(talk.now, "user_item", "Hello, do you speak English please?", 2.0))
    talk.says("Yes, I do.")
    assert asked(talk) == ("recording", TOLD["en"])
    talk.says(TOLD["en"])
    assert talk.requested is None
    talk.turn()
    talk.do(ev.CallerWords(talk.now, "user_item", "Good.", 1.0))
    talk.says("Anything else?")
    assert talk.requested is None, "once"


def test_a_greeting_that_is_said_again_says_it_by_itself(talk: Talk) -> None:
    cut_off(talk, GREETING)
    talk.judge("unclear", language="he", reason="not_understood")
    assert asked(talk) == ("greeting", GREETING)


def test_a_fresh_stream_says_it_before_it_goes_on(talk: Talk) -> None:
    talk.speak("greeting", 1000, GREETING)
    talk.now += 0.1
    talk.do(ev.Ended(talk.now))
    back = recorded(talk.talk, replace(RULES, opening="resumed"))
    assert asked(back) == ("recording", TOLD["he"])
    back.says(TOLD["he"])
    assert back.asked_for().phrase == "resumed"


def test_a_call_that_is_not_recorded_is_told_nothing() -> None:
    talk = recorded(Conversation(RECORDED, PHRASES), replace(RULES, recorded=False))
    cut_off(talk, GREETING)
    talk.judge("answer_step", step="city", value="חיפה", language="he")
    assert talk.asked_for().kind == "speak"

"""Every reply is held against what it was asked for: its question, its language, no second question, no goodbye."""

import pytest

from kav.call.audit import Breach, asks, free_words
from tests.call.test_conversation import FLOW, PHRASES, Talk

QUESTION = "לאיזה מספר המנעולן יחזור אליכם?"


@pytest.mark.parametrize(
    ("transcript", "asked"),
    [
        (f"מצוין. {QUESTION}", True),
        ("לאיזה מספר, בבקשה, המנעולן יחזור אליכם?", True),
        ("לאיזה מספר המנעולן יחזור אלייך?", True),
        ("ומה השם?", False),
        ("המנעולן יחזור אליכם.", False),
        ("", False),
    ],
)
def test_a_question_is_known_by_most_of_its_words_in_their_order(transcript: str, asked: bool) -> None:
    assert asks(transcript, QUESTION) is asked


@pytest.mark.parametrize(
    ("transcript", "breaches"),
    [
        ("חיפה, תודה. זה דחוף?", []),
        ("חיפה? זה דחוף?", [Breach("asked more than one question", "2")]),
        ("Fine, thank you. Is it urgent?", [Breach("wrong language", "he")]),
        ("מצוין. תודה ולהתראות.", [Breach("said goodbye unasked")]),
    ],
)
def test_what_free_words_may_not_do(transcript: str, breaches: list[Breach]) -> None:
    assert free_words(transcript, "he", "זה דחוף?", ["תודה ולהתראות", ""]) == breaches


def to_the_second_step() -> Talk:
    talk = Talk().started()
    talk.says(talk.asked_for().text)
    talk.turn()
    talk.judge("answer_step", step="city", value="חיפה", language="he")
    return talk


def test_a_reply_that_asks_something_else_is_followed_by_the_question_itself() -> None:
    talk = to_the_second_step()
    talk.says("ומה השם שלכם?")
    assert talk.asked_for().text == "זה דחוף?"
    assert Breach("question not asked", "urgent") in talk.talk.breaches
    talk.says("זה דחוף?")
    talk.turn()
    talk.judge("answer_step", step="urgent", value="yes", language="he")
    assert talk.talk.lock.answers["urgent"].value == "yes"


def test_a_reply_whose_words_are_not_known_is_not_held_against_the_model() -> None:
    talk = to_the_second_step()
    talk.says("")
    assert talk.asked_for().kind == "speak"
    assert talk.talk.breaches == []


def test_a_reply_that_was_cut_off_is_not_followed_by_anything() -> None:
    talk = to_the_second_step()
    talk.created()
    talk.added("cut")
    talk.audio("cut", 2000)
    talk.now += 0.5
    talk.turn()
    talk.finish("cancelled")
    assert talk.asked_for().kind == "judge"


def test_a_goodbye_that_nobody_ordered_hangs_nobody_up() -> None:
    talk = to_the_second_step()
    talk.says(f"{PHRASES['he']['goodbye']} זה דחוף?")
    assert Breach("said goodbye unasked") in talk.talk.breaches
    assert not talk.ended


def test_in_a_language_without_texts_there_is_nothing_exact_to_ask_for() -> None:
    talk = Talk().started()
    talk.says(talk.asked_for().text)
    talk.turn()
    talk.judge("answer_step", step="city", value="Haïfa", language="fr")
    assert FLOW.steps[1].ask.get("fr") is None
    talk.says("Merci. C'est urgent ?")
    assert talk.asked_for().kind == "speak"
    assert talk.talk.breaches == []


def test_a_sentence_that_the_model_translates_is_on_record_as_translated() -> None:
    talk = Talk().started()
    talk.says(talk.asked_for().text)
    talk.turn()
    talk.judge("answer_step", step="city", value="Haïfa", language="fr")
    talk.says("Merci. C'est urgent ?")
    talk.turn()
    talk.judge("end_call", language="fr")
    talk.says("Au revoir.")
    kinds = [turn.kind for turn in talk.talk.chronicle.turns if turn.who == "bot"]
    assert kinds == ["phrase", "translated", "translated"]

"""The caller speaks over the bot and says nothing that matters: what they have not heard is said to them still."""

import pytest

from kav.call import actions as act
from kav.call import events as ev
from kav.call.conversation import GREETED_AT_MOST, Conversation
from kav.call.ruling import Directive
from tests.call.test_conversation import GREETING, PHRASES, Talk, said
from tests.call.test_own_tools import Clinic
from tests.call.test_reconnect import back, lose

RESUME = PHRASES["he"]["resume"]
SORRY = "סליחה, הקו התנתק."


def over(talk: Talk, words: str, heard_ms: int, *, whole: bool = True) -> None:
    """The bot says `words` in a second, and the caller speaks over it after `heard_ms`."""
    if whole:
        talk.items += 1
        talk.speak(f"over{talk.items}", 1000, words)
    else:
        talk.created()
    talk.now += heard_ms / 1000
    talk.turn()
    if not whole:
        talk.finish("cancelled")


def shown(talk: Talk) -> Directive:
    """What the judge is shown."""
    request = talk.asked_for()
    assert request.kind == "judge"
    assert request.directive is not None
    return request.directive


@pytest.mark.parametrize(("heard_ms", "whole"), [(200, True), (0, False)])
def test_who_says_hello_over_the_greeting_hears_who_is_speaking_and_not_a_question_alone(
    heard_ms: int, whole: bool
) -> None:
    talk = Talk().started()
    for _ in range(GREETED_AT_MOST):
        assert talk.asked_for().text == GREETING
        over(talk, GREETING, heard_ms, whole=whole)
        talk.judge("unclear", language="he")
    assert said(talk) == ("not_understood", "city"), "not for ever"


def test_who_has_heard_the_greeting_is_not_greeted_again() -> None:
    talk = Talk().started()
    over(talk, GREETING, 900)
    talk.judge("unclear", language="he")
    assert said(talk) == ("not_understood", "city")
    talk = Talk().started()
    over(talk, GREETING, 200)
    talk.judge("unclear", language="he")
    talk.says(GREETING)
    talk.turn()
    talk.judge("unclear", language="he")
    assert said(talk) == ("not_understood", "city"), "it was heard the second time"


def test_who_answers_over_the_greeting_is_not_greeted_again() -> None:
    talk = Talk().started()
    over(talk, GREETING, 200)
    talk.judge("answer_step", step="city", value="חיפה", language="he")
    assert said(talk) == ("ask", "urgent")
    talk.says("תודה. זה דחוף?")
    talk.turn()
    talk.judge("unclear", language="he")
    assert said(talk) == ("not_understood", "urgent"), "minutes into the call nobody says hello again"


def test_who_speaks_while_a_tool_works_has_heard_the_greeting_all_the_same() -> None:
    clinic = Clinic()
    clinic.asks_something()
    clinic.calls()
    clinic.finish()
    clinic.turn()
    clinic.judge("answer_step", step="city", value="חיפה", language="he")
    clinic.says("תודה. זה דחוף?")
    clinic.turn()
    clinic.judge("unclear", language="he")
    assert said(clinic) == ("not_understood", "urgent")


def test_a_model_that_does_not_judge_an_answer_to_kavs_own_question_has_that_question_asked_again() -> None:
    clinic = Clinic(confirm=True)
    clinic.turn()
    clinic.judge("answer_step", step="city", value="חיפה", language="he")
    clinic.says("חיפה, נכון?")
    clinic.turn()
    for _ in range(2):
        clinic.created()
        clinic.finish()
    assert said(clinic) == ("confirm", "city")


def test_an_answer_that_a_sign_of_listening_has_cut_off_goes_on() -> None:
    talk = Talk().started()
    talk.says(GREETING)
    talk.turn()
    talk.judge("side_question", language="he")
    over(talk, f"זה עולה מאתיים שקלים, ובשבת שלוש מאות. {RESUME}", 300)
    assert shown(talk).why == "answer", "the judge knows what they spoke over"
    talk.judge("unclear", language="he")
    assert said(talk) == ("answer_then_resume", "city")
    talk.says(f"ובשבת שלוש מאות. {RESUME}")
    talk.turn()
    talk.judge("answer_step", step="city", value="כן", language="he")
    assert said(talk) == ("ask_again", "city")


@pytest.mark.parametrize(("heard_ms", "locked"), [(500, False), (900, True)])
def test_a_yes_confirms_a_value_that_was_heard_and_not_its_beginning(heard_ms: int, locked: bool) -> None:
    clinic = Clinic(confirm=True)
    clinic.turn()
    clinic.judge("answer_step", step="city", value="הרצל 10, דירה 4", language="he")
    over(clinic, "הרצל עשר, דירה ארבע, נכון?", heard_ms)
    clinic.judge("answer_step", step="city", value="yes", language="he")
    assert ("city" in clinic.talk.lock.answers) is locked


def test_a_judgement_that_was_refused_is_asked_for_once_more_with_what_was_wrong() -> None:
    talk = Talk().started()
    talk.says(GREETING)
    talk.turn()
    talk.judge("answer_step", step="city", value="", language="he")
    assert "empty" in shown(talk).value
    talk.judge("answer_step", step="city", value="חיפה", language="he")
    assert said(talk) == ("ask", "urgent")


@pytest.mark.parametrize("back_first", [True, False])
def test_an_answer_whose_tool_outlives_its_model_asks_the_one_question_that_is_then_open(back_first: bool) -> None:
    clinic = Clinic(reconnects=1)
    clinic.talk.phrases = {"he": PHRASES["he"] | {"resumed": SORRY}}
    clinic.turn()
    clinic.judge("answer_step", step="city", value="חיפה", language="he")
    clinic.says("תודה. זה דחוף?")
    clinic.asks_something()
    clinic.calls()
    lose(clinic)
    if back_first:
        clinic.comes_back()
    back(clinic)
    assert clinic.asked_for().text == SORRY
    clinic.says(SORRY)
    if not back_first:
        clinic.comes_back()
    assert said(clinic) == ("answer_then_resume", "urgent")
    clinic.says(f"פנוי בעשר. {RESUME}")
    clinic.turn()
    clinic.judge("answer_step", step="urgent", value="yes", language="he")
    assert said(clinic) == ("ask_again", "urgent"), "a yes to going on answers no step"
    assert "urgent" not in clinic.talk.lock.answers
    assert clinic.of(act.RunTool) == [act.RunTool("c1", "free_slots", "{}")]


def test_what_the_caller_heard_of_another_stream_is_none_of_the_next_ones() -> None:
    talk = Talk().started()
    over(talk, GREETING, 200)
    talk.do(ev.Ended(talk.now))
    conversation: Conversation = talk.talk
    assert conversation.opening("resumed").phrase == "resumed"
    assert conversation.keyed("").kind == "speak"

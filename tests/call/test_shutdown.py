"""A process that stops tells its callers so: once, to the end, over nobody's words, and it takes no goodbye back."""

import pytest

from kav.call import actions as act
from kav.call import events as ev
from kav.call.conversation import Conversation
from tests.call.test_conversation import FLOW, GREETING, PHRASES, Talk

LAST_WORDS = "סליחה, השיחה חייבת להסתיים כאן."


@pytest.fixture
def call() -> Talk:
    talk = Talk(Conversation(FLOW, {**PHRASES, "he": PHRASES["he"] | {"shutdown": LAST_WORDS}}))
    return talk.started()


def shut_down(call: Talk) -> list[act.Action]:
    return call.do(ev.Shutdown(call.now))


def told(call: Talk) -> None:
    """The apology is what was asked for, and is said and heard."""
    assert call.asked_for().text == LAST_WORDS
    call.says(LAST_WORDS)
    assert call.done[-1] == act.EndCall("shutdown")


def test_the_apology_is_said_and_the_call_ends_when_it_was_heard(call: Talk) -> None:
    call.says(GREETING)
    shut_down(call)
    told(call)


def test_what_the_bot_was_saying_gives_way(call: Talk) -> None:
    call.created()
    call.added("greeting")
    call.audio("greeting", 5000)
    kinds = [type(action) for action in shut_down(call)]
    assert kinds[:2] == [act.ClearPlayback, act.CancelResponse]
    call.finish("cancelled")
    told(call)


def test_a_caller_who_speaks_is_not_talked_over_and_is_answered_with_the_apology_alone(call: Talk) -> None:
    call.says(GREETING)
    call.speech()
    assert not any(isinstance(action, act.RequestResponse) for action in shut_down(call))
    call.commit()
    told(call)
    requests = [action for action in call.done if isinstance(action, act.RequestResponse)]
    assert {request.kind for request in requests} == {"phrase"}, "nothing is judged any more"


def test_a_turn_that_is_being_judged_is_not_waited_for(call: Talk) -> None:
    call.says(GREETING)
    call.turn()
    call.created()
    shut_down(call)
    call.finish("cancelled")
    told(call)


def test_who_speaks_over_the_apology_hears_it_again_and_who_speaks_after_it_does_not_take_it_back(call: Talk) -> None:
    call.says(GREETING)
    shut_down(call)
    call.created()
    call.added("first")
    call.audio("first", 2000)
    call.turn()
    call.finish("cancelled")
    assert call.asked_for().text == LAST_WORDS
    call.speak("second", 2000, LAST_WORDS)
    assert call.speech()[-1] == act.EndCall("shutdown")


def test_a_hand_over_that_was_announced_is_carried_through(call: Talk) -> None:
    call.says(GREETING)
    call.talk.handing_over = True
    assert shut_down(call) == []
    assert call.do(ev.Tick(call.now)) == [act.EndCall("transferred")]


def test_without_a_model_twilio_says_it() -> None:
    call = Talk(Conversation(FLOW, PHRASES))
    call.do(ev.StreamStarted(call.now))
    assert shut_down(call) == [act.EndCall("shutdown", apologise=True)]


def test_a_model_that_is_lost_meanwhile_is_not_replaced(call: Talk) -> None:
    call.says(GREETING)
    shut_down(call)
    assert call.do(ev.ModelLost(call.now, "reset")) == [act.EndCall("model_failed", apologise=True)]

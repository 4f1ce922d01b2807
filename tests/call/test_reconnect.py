"""A model that is lost is not a call that is lost: another connection goes on from the same step."""

from kav.call import actions as act
from kav.call import events as ev
from kav.call.conversation import Conversation
from kav.call.deadlines import CallRules
from kav.call.session import CallSession
from tests.call.test_conversation import FLOW, GREETING, PHRASES, Talk

APOLOGY = "סליחה, הקו התנתק לרגע."


def talk(reconnects: int = 2, *, silence_ask_s: float = 4.0, silence_close_s: float = 7.0) -> Talk:
    """A call whose stream may lose its model so many times."""
    conversation = Conversation(FLOW, {**PHRASES, "he": PHRASES["he"] | {"resumed": APOLOGY}})
    talk = Talk(conversation)
    rules = CallRules(900, 8, silence_ask_s=silence_ask_s, silence_close_s=silence_close_s, reconnects=reconnects)
    talk.session = CallSession(rules, conversation)
    return talk.started()


def lose(talk: Talk) -> list[act.Action]:
    """The connection breaks, and whatever was asked for on it is gone."""
    actions = talk.do(ev.ModelLost(talk.now, "reset"))
    talk.requested = talk.active = None
    return actions


def back(talk: Talk) -> list[act.Action]:
    return talk.do(ev.ModelReady(talk.now))


def test_while_nothing_was_to_be_said_nobody_notices() -> None:
    call = talk()
    call.says(GREETING)
    assert lose(call) == [act.ReconnectModel()]
    assert back(call) == []
    call.turn()
    call.judge("answer_step", step="city", value="חיפה", language="he")
    assert call.talk.lock.answers["city"].value == "חיפה"


def test_a_reply_that_is_lost_gives_way_to_a_short_apology_and_the_same_question() -> None:
    call = talk()
    call.says(GREETING)
    call.turn()
    lose(call)
    back(call)
    assert call.asked_for().text == f"{APOLOGY} באיזו עיר?"


def test_what_was_on_its_way_to_the_caller_plays_on() -> None:
    call = talk()
    call.created()
    call.added("greeting")
    call.audio("greeting", 1000)
    call.audio("greeting", 100)
    actions = lose(call)
    assert not any(isinstance(action, act.ClearPlayback) for action in actions)
    assert isinstance(actions[0], act.SendMark), "the last of it is known to have been heard"


def test_a_caller_who_has_heard_nothing_is_greeted() -> None:
    call = talk()
    lose(call)
    back(call)
    assert call.asked_for().phrase == "greeting"


def test_a_goodbye_that_is_lost_is_said_again_and_ends_the_call() -> None:
    call = talk()
    call.says(GREETING)
    call.turn()
    call.judge("end_call", language="he")
    lose(call)
    back(call)
    assert call.asked_for().phrase == "goodbye"
    call.says(call.asked_for().text)
    assert call.done[-1] == act.EndCall("goodbye")


def test_a_goodbye_that_is_still_playing_ends_the_call_without_a_model() -> None:
    call = talk()
    call.says(GREETING)
    call.turn()
    call.judge("end_call", language="he")
    call.speak("bye", 1000, call.asked_for().text)
    lose(call)
    call.now += 1
    call.marks_return()
    assert call.done[-1] == act.EndCall("goodbye")


def test_a_model_that_is_lost_too_often_is_given_up() -> None:
    call = talk(reconnects=1)
    call.says(GREETING)
    lose(call)
    back(call)
    assert lose(call) == [act.EndCall("model_failed", apologise=True)]


def test_a_model_that_does_not_come_back_is_not_waited_for_for_ever() -> None:
    call = talk()
    call.says(GREETING)
    lose(call)
    call.now += 7.9
    assert call.do(ev.Tick(call.now)) == []
    call.now += 0.2
    assert call.do(ev.Tick(call.now)) == [act.EndCall("model_failed", apologise=True)]


def test_a_model_that_never_came_gets_no_second_chance() -> None:
    call = Talk(Conversation(FLOW, PHRASES))
    call.session = CallSession(CallRules(max_call_s=900, reply_timeout_s=8, reconnects=2), call.talk)
    call.do(ev.StreamStarted(call.now))
    assert call.do(ev.ModelLost(call.now, "refused")) == [act.EndCall("model_failed", apologise=True)]


def test_the_silence_clock_stands_still_while_the_model_is_away() -> None:
    call = talk(silence_ask_s=1, silence_close_s=2)
    call.says(GREETING)
    lose(call)
    for _ in range(50):
        call.now += 0.1
        assert call.do(ev.Tick(call.now)) == []


def test_a_tool_of_the_lost_connection_answers_nobody() -> None:
    call = talk()
    call.says(GREETING)
    lose(call)
    back(call)
    assert call.do(ev.ToolFinished(call.now, "call_of_before", "out")) == []


def test_a_goodbye_that_plays_needs_no_model_however_often_it_is_lost() -> None:
    call = talk(reconnects=0)
    call.says(GREETING)
    call.turn()
    call.judge("end_call", language="he")
    call.speak("bye", 1000, call.asked_for().text)
    assert lose(call) == []
    call.now += 20
    assert call.do(ev.Tick(call.now)) == [act.EndCall("goodbye")]


def test_keys_pressed_while_the_model_is_away_answer_nothing() -> None:
    call = talk()
    call.says(GREETING)
    call.turn()
    lose(call)
    assert [call.do(ev.KeyPressed(call.now, key)) for key in "12#"] == [[], [], []]
    back(call)
    assert call.talk.lock.answers == {}
    assert call.asked_for().text == f"{APOLOGY} באיזו עיר?"


def test_a_new_connection_is_not_told_of_items_that_it_never_had() -> None:
    call = talk()
    call.speak("greeting", 3000, GREETING)
    lose(call)
    back(call)
    call.now += 0.5
    assert {type(action) for action in call.speech()} == {act.ClearPlayback}


def test_time_in_which_the_process_stood_still_counts_against_no_model_that_is_awaited() -> None:
    call = talk()
    call.says(GREETING)
    lose(call)
    call.now += 20
    call.do(ev.HubLate(call.now, 20))
    assert call.do(ev.Tick(call.now)) == []

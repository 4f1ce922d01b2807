"""Kav alone asks for responses: one at a time, one for each turn, and never a silence that nobody ends."""

import pytest

from kav.call import actions as act
from kav.call import events as ev
from kav.call.deadlines import CallRules
from kav.call.session import CallSession
from tests.call.world import World, talk_without_steps


@pytest.fixture
def world() -> World:
    return World().started()


def answer(world: World) -> None:
    """A greeting that was heard, then a turn whose answer has been asked for."""
    world.speak("greeting", 100)
    world.now += 1
    world.marks_return()
    world.speech()
    world.commit()


@pytest.mark.parametrize("model_first", [True, False])
def test_greets_once_when_both_caller_and_model_are_there(model_first: bool) -> None:
    world = World()
    first, second = ev.ModelReady(world.now), ev.StreamStarted(world.now)
    if not model_first:
        assert world.do(second) == []
        assert world.do(first) == [act.RequestResponse("kav1", "phrase", "greeting", language="he")]
    else:
        assert world.do(first) == []
        assert world.do(second) == [act.RequestResponse("kav1", "phrase", "greeting", language="he")]
    assert world.do(ev.StreamStarted(world.now, "outbound")) == []
    assert world.session.direction == "inbound"


def test_a_turn_during_a_response_waits_for_its_end(world: World) -> None:
    world.created()
    world.speech()
    assert world.commit() == []
    assert world.finish("cancelled", "turn_detected") == [act.RequestResponse("kav2", "answer", language="he")]


def test_two_turns_that_wait_get_one_answer(world: World) -> None:
    world.created()
    world.speech()
    world.commit()
    world.speech()
    world.commit()
    world.finish("cancelled", "turn_detected")
    world.speak("answer", 500)
    assert len(world.of(act.RequestResponse)) == 2


def test_a_response_that_kav_did_not_ask_for_is_cancelled_and_waited_for(world: World) -> None:
    world.speak("greeting", 100)
    assert world.do(ev.ResponseCreated(world.now, "stranger", None)) == [act.CancelResponse("stranger")]
    world.speech()
    assert world.commit() == []
    assert world.do(ev.ResponseDone(world.now, "stranger", "cancelled")) == [
        act.RequestResponse("kav2", "answer", language="he")
    ]


def test_a_foreign_response_that_never_ends_does_not_silence_the_bot_for_ever(
    world: World,
) -> None:
    world.speak("greeting", 100)
    world.do(ev.ResponseCreated(world.now, "stranger", None))
    world.speech()
    assert world.commit() == []
    world.now += 7
    world.do(ev.HubLate(world.now, 1))
    world.session.model_seen(world.now)
    assert world.do(ev.Tick(world.now)) == []
    world.now += 2
    world.session.model_seen(world.now)
    assert world.do(ev.Tick(world.now)) == [act.EndCall("model_failed", apologise=True)]


def test_a_failed_response_is_asked_for_once_more_and_then_the_caller_hears_an_apology(world: World) -> None:
    world.created()
    assert world.finish("failed", "server_error") == [act.RequestResponse("kav2", "phrase", "greeting", language="he")]
    world.created()
    assert world.finish("failed", "server_error") == [act.EndCall("model_failed", apologise=True)]


@pytest.mark.parametrize("code", ["insufficient_quota", "session_expired", "invalid_api_key"])
def test_a_fatal_error_ends_the_call_with_an_apology(world: World, code: str) -> None:
    assert world.do(ev.RequestRefused(world.now, code, None)) == [act.EndCall("model_failed", apologise=True)]


@pytest.mark.parametrize("code", ["response_cancel_not_active", "item_not_found", "invalid_value", "unknown_parameter"])
def test_other_errors_leave_the_call_alone(world: World, code: str) -> None:
    assert world.do(ev.RequestRefused(world.now, code, "something else")) == []


def test_a_response_without_a_sound_is_asked_for_once_more(world: World) -> None:
    world.created()
    assert world.finish() == [act.RequestResponse("kav2", "phrase", "greeting", language="he")]


def test_a_refused_create_is_asked_for_once_more(world: World) -> None:
    world.requested = None
    assert world.do(ev.RequestRefused(world.now, "server_error", "kav1")) == [
        act.RequestResponse("kav2", "phrase", "greeting", language="he")
    ]


def test_another_active_response_is_waited_out_not_counted(world: World) -> None:
    world.requested = None
    for attempt in range(2, 6):
        key = f"kav{attempt}"
        assert world.do(ev.RequestRefused(world.now, "conversation_already_has_active_response", None)) == []
        assert world.do(ev.Tick(world.now)) == []
        world.now += 0.3
        assert world.do(ev.Tick(world.now)) == [act.RequestResponse(key, "phrase", "greeting", language="he")]
        world.requested = None


def test_another_active_response_for_ever_ends_with_an_apology(world: World) -> None:
    world.requested = None
    for _ in range(100):
        if world.ended:
            break
        world.do(ev.RequestRefused(world.now, "conversation_already_has_active_response", None))
        world.now += 0.3
        world.do(ev.Tick(world.now))
        world.requested = None
    assert world.done[-1] == act.EndCall("model_failed", apologise=True)


def test_a_tool_is_run_once_and_answered_once(world: World) -> None:
    answer(world)
    response = world.created()
    called = ev.ToolCalled(world.now, response, "item", "call1", "current_time", "{}")
    assert world.do(called) == [act.RunTool("call1", "current_time", "{}")]
    assert world.do(called) == []
    assert world.do(ev.ToolFinished(world.now, "call1", "12:00")) == [act.SendToolOutput("call1", "12:00")]
    assert world.do(called) == []
    assert world.finish() == [act.RequestResponse("kav3", "answer", language="he")]
    assert world.do(ev.ToolFinished(world.now, "call1", "12:00")) == []


def test_a_model_that_stalls_before_or_in_a_reply_ends_with_an_apology(world: World) -> None:
    world.now += 7.9
    assert world.do(ev.Tick(world.now)) == []
    world.now += 0.2
    assert world.do(ev.Tick(world.now)) == [act.EndCall("model_failed", apologise=True)]


def test_a_model_that_is_never_ready_ends_with_an_apology() -> None:
    world = World()
    world.do(ev.StreamStarted(world.now))
    world.now += 8
    assert world.do(ev.Tick(world.now)) == [act.EndCall("model_failed", apologise=True)]


def test_a_model_that_hears_nobody_is_found_out(world: World) -> None:
    """It reads and never says a word: the caller could speak to it for ever."""
    world.speak("greeting", 100)
    world.now += 4.1
    assert world.do(ev.Tick(world.now)) == [act.ProbeModel("kav1")]
    assert world.do(ev.Tick(world.now)) == [], "asked once"
    world.now += 4.1
    assert world.do(ev.Tick(world.now)) == [act.EndCall("model_failed", apologise=True)]


def test_a_model_that_answers_the_probe_is_left_in_peace() -> None:
    patient = CallRules(max_call_s=900, reply_timeout_s=8, silence_ask_s=600, silence_close_s=700)
    world = World(CallSession(patient, talk_without_steps())).started()
    world.speak("greeting", 100)
    for _ in range(10):
        world.now += 4.1
        assert world.do(ev.Tick(world.now)) == [act.ProbeModel("kav1")]
        world.now += 0.1
        world.session.model_seen(world.now)


def test_a_late_hub_counts_against_nobody(world: World) -> None:
    world.now += 10
    assert world.do(ev.HubLate(world.now, 10)) == []
    assert world.do(ev.Tick(world.now)) == []
    world.now += 7.9
    assert world.do(ev.Tick(world.now)) == []


def test_the_hard_limit_is_announced_a_minute_before_and_holds() -> None:
    world = World(CallSession(CallRules(max_call_s=120, reply_timeout_s=8), talk_without_steps())).started()
    world.speak("greeting", 100)
    world.now += 60
    world.session.model_seen(world.now)
    assert world.do(ev.Tick(world.now)) == [act.RequestResponse("kav2", "phrase", "limit_notice", language="he")]
    world.speak("notice", 1000)
    assert world.do(ev.Tick(world.now)) == []
    world.speech()
    world.now += 60
    assert world.do(ev.Tick(world.now)) == [act.EndCall("max_duration")], "barge-in takes no limit back"


def test_nothing_happens_after_the_end(world: World) -> None:
    world.do(ev.Ended(world.now))
    world.ended = True
    world.speech()
    world.commit()
    world.do(ev.ModelLost(world.now, "gone"))
    assert world.session.over

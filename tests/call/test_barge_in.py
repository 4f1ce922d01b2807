"""The caller speaks = the bot is silent, whatever it was doing (Promise 2)."""

import pytest

from kav.call import actions as act
from kav.call import events as ev
from kav.call.playhead import CAUTION_MS
from tests.call.world import World


@pytest.fixture
def world() -> World:
    return World().started()


def test_in_the_greetings_first_100_ms(world: World) -> None:
    response = world.created()
    world.added("greeting")
    world.audio("greeting", 200)
    world.now += 0.1
    assert world.speech() == [
        act.ClearPlayback(1),
        act.CancelResponse(response),
        act.TruncateItem("greeting", 100 - CAUTION_MS),
    ]
    assert world.audio("greeting", 200) == [], "late audio of the old response is never forwarded"


def test_in_mid_reply_the_item_is_truncated_where_it_was_heard(world: World) -> None:
    response = world.created()
    world.added("greeting")
    for _ in range(10):
        world.audio("greeting", 400)
    world.now += 1.5
    assert world.speech() == [
        act.ClearPlayback(1),
        act.CancelResponse(response),
        act.TruncateItem("greeting", 1500 - CAUTION_MS),
    ]


def test_after_response_done_while_twilio_still_plays(world: World) -> None:
    world.speak("greeting", 4000)
    world.now += 2
    assert world.speech() == [act.ClearPlayback(1), act.TruncateItem("greeting", 2000 - CAUTION_MS)]


def test_shortly_before_the_last_mark(world: World) -> None:
    world.speak("greeting", 1000)
    world.now += 0.97
    assert world.speech() == [act.ClearPlayback(1), act.TruncateItem("greeting", 970 - CAUTION_MS)]


def test_in_the_first_100_ms_of_a_reply_after_5_s_of_quiet(world: World) -> None:
    world.speak("greeting", 1000)
    world.now += 1
    world.marks_return()
    world.now += 5
    world.speech()
    world.commit()
    response = world.created()
    world.added("answer")
    world.audio("answer", 600)
    world.now += 0.1
    cut = world.speech()
    assert cut[1:] == [act.CancelResponse(response), act.TruncateItem("answer", 100 - CAUTION_MS)]


def test_with_two_queued_items_the_one_not_begun_is_deleted(world: World) -> None:
    world.created()
    for item in ("one", "two"):
        world.added(item)
        world.audio(item, 1000)
    world.now += 0.5
    cut = world.speech()
    assert cut[2:] == [act.TruncateItem("one", 500 - CAUTION_MS), act.DeleteItem("two")]


def test_an_item_that_was_announced_and_never_sounded_is_deleted(world: World) -> None:
    response = world.created()
    world.added("greeting")
    assert world.speech() == [act.CancelResponse(response), act.DeleteItem("greeting")]


def test_between_create_and_created_the_response_is_dead_at_birth(world: World) -> None:
    assert world.speech() == [], "nothing sounds yet"
    response = world.created()
    assert world.done[-1] == act.CancelResponse(response)
    assert world.added("greeting") == [act.DeleteItem("greeting")]
    assert world.audio("greeting", 200) == []
    assert world.finish("cancelled", "client_cancelled") == []
    assert world.commit() == [act.RequestResponse("kav2", "answer", language="he")], "the turn gets its reply"


def test_twice_within_300_ms_does_nothing_the_second_time(world: World) -> None:
    world.created()
    world.added("greeting")
    world.audio("greeting", 2000)
    world.now += 0.5
    world.speech()
    world.now += 0.3
    assert world.speech() == []


def test_while_a_tool_runs_its_output_waits_for_the_callers_turn(world: World) -> None:
    world.speak("greeting", 100)
    world.now += 1
    world.marks_return()
    world.speech()
    world.commit()
    response = world.created()
    assert world.do(ev.ToolCalled(world.now, response, "item", "call1", "current_time", "{}")) == [
        act.RunTool("call1", "current_time", "{}")
    ]
    world.finish()
    assert world.speech() == [], "nothing sounds, nothing is cut"
    finished = world.do(ev.ToolFinished(world.now, "call1", "12:00"))
    assert finished == [act.SendToolOutput("call1", "12:00")], "no response while the caller speaks"
    assert world.commit() == [act.RequestResponse("kav3", "answer", language="he")], (
        "one reply for the output and the turn"
    )


def test_with_nothing_unplayed_there_is_no_clear_and_no_truncation(world: World) -> None:
    world.speak("greeting", 600)
    world.now += 0.6
    world.marks_return()
    world.now += 3
    assert world.speech() == []


def test_no_response_is_requested_until_the_turn_ends(world: World) -> None:
    world.speak("greeting", 600)
    world.speech()
    world.now += 5
    assert world.do(ev.Tick(world.now)) == [act.ProbeModel("kav1")]
    assert world.commit() == [act.RequestResponse("kav2", "answer", language="he")]


def test_a_function_call_of_an_interrupted_response_is_not_run(world: World) -> None:
    response = world.created()
    world.speech()
    assert world.do(ev.ToolCalled(world.now, response, "item", "call1", "current_time", "{")) == [
        act.DeleteItem("item")
    ]

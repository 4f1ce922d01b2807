"""What the model asks Kav to do is done once, answered once, and never for a response that was cut off."""

from collections.abc import AsyncIterator

import pytest

from rehearsal.model import CallTool, Reply, Say
from rehearsal.model.conversation import Item
from rehearsal.world import World
from tests.line.listening import SPEECH, Talk, noise, say, talking

GREETING, ANSWER, FILLER = noise(1, 300), noise(2, 600), noise(3, 800)


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """Short turns."""
    async with World({"VAD_SILENCE_MS": "200", "DRAIN_SECONDS": "0"}) as world:
        yield world
        assert world.model.violations == [], "Kav broke the model's rules"


async def asks_for(world: World, *parts: CallTool | Say) -> Talk:
    """A call whose model, at the caller's first turn, does these things, and then answers."""
    talk = await talking(world, say(GREETING), Reply(parts, first_after_s=0.05), say(ANSWER))
    await talk.call.until(lambda: talk.heard_ms_of(GREETING) == 300)
    await talk.call.say(SPEECH)
    return talk


async def outputs(talk: Talk) -> list[Item]:
    """What Kav gave the model, once the answer was heard; one response for all of it."""
    await talk.call.until(lambda: talk.heard_ms_of(ANSWER) == 600)
    talk.hold_to_the_rules(replies=3)
    return [item for item in talk.session.conversation if item.type == "function_call_output"]


async def test_a_tool_is_run_and_its_output_is_answered(world: World) -> None:
    talk = await asks_for(world, CallTool("current_time"))
    (output,) = await outputs(talk)
    assert "20" in output.output
    created = [at for at, event in talk.session.received if event["type"] == "response.create"]
    done = [at for at, event in talk.session.sent if event["type"] == "response.done"]
    assert created[2] > done[1], "not before the response that called it is done"


async def test_the_sentence_before_the_call_is_heard_too(world: World) -> None:
    talk = await asks_for(world, Say("...", audio=FILLER), CallTool("current_time"))
    assert len(await outputs(talk)) == 1
    assert talk.heard_ms_of(FILLER) == 800


async def test_two_calls_in_one_response_get_two_outputs_and_one_answer(world: World) -> None:
    talk = await asks_for(world, CallTool("current_time"), CallTool("current_time"))
    first, second = await outputs(talk)
    assert first.call_id != second.call_id


async def test_a_call_that_is_sent_twice_is_run_once(world: World) -> None:
    talk = await asks_for(world, CallTool("current_time", call_id="call_x"), CallTool("current_time", call_id="call_x"))
    assert len(await outputs(talk)) == 1


@pytest.mark.parametrize("call", [CallTool("order_pizza"), CallTool("current_time", '{"broken'), CallTool("", "[]")])
async def test_a_call_that_makes_no_sense_is_answered_all_the_same(world: World, call: CallTool) -> None:
    assert len(await outputs(await asks_for(world, call))) == 1


async def test_a_call_of_a_response_that_was_cut_off_is_not_run(world: World) -> None:
    talk = await asks_for(world, Say("...", audio=noise(4, 3000)), CallTool("current_time"))
    await talk.call.until(lambda: talk.heard_ms_of(noise(4, 3000)) > 100)
    await talk.interrupt()
    assert await outputs(talk) == []


async def test_a_call_that_was_complete_before_the_caller_spoke_is_run_and_answered_with_the_turn(world: World) -> None:
    talk = await asks_for(world, CallTool("current_time"))
    await talk.session.wait_for("conversation.item.create", 2)
    talk.session.ears.hear_speech()
    await talk.session.wait_for("input_audio_buffer.committed", 2)
    await talk.call.until_quiet(for_s=0.5)
    assert [item.type for item in talk.session.conversation].count("function_call_output") == 1
    assert len(talk.asked("response.create")) in (3, 4), (
        "the output's answer, cut off or not yet asked for, and the turn's"
    )
    assert talk.session.violations == []

"""A model that fails in mid-call is replaced: the caller keeps the line, the step and the conversation."""

import json
from collections.abc import AsyncIterator, Callable

import pytest

from rehearsal.model import After, CallTool, Faults, ModelServer, ModelSession
from rehearsal.world import World
from tests.line.ending import record
from tests.line.listening import SPEECH, Talk
from tests.line.test_conversation import LOCKSMITH, Judging, greeted, orders, turn

SETTINGS = {"VAD_SILENCE_MS": "200", "MODEL_REPLY_TIMEOUT_S": "2", "DRAIN_SECONDS": "0", "MODEL_RECONNECTS": "2"}
ANSWERS_CITY = CallTool("answer_step", {"step": "problem", "value": "דלת", "language": "he"})


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """Short turns, and little patience with a model."""
    async with World(SETTINGS) as world:
        yield world
        assert world.model.violations == [], "Kav broke the model's rules"


async def second(world: World, talk: Talk) -> Talk:
    """The call as its second model session knows it."""
    return Talk(talk.call, await world.session_of(talk.call, 2))


@pytest.mark.parametrize("fails", [ModelSession.reset, ModelSession.close, ModelSession.expire])
async def test_a_model_that_goes_while_nothing_is_said_is_replaced_without_a_word(
    world: World, fails: Callable[[ModelSession], object]
) -> None:
    talk = await greeted(world, ANSWERS_CITY)
    await turn(talk, voice=2)
    fails(talk.session)
    back = await second(world, talk)
    await back.session.wait_for("session.updated")
    await turn(talk, voice=3)
    retold = [event["item"] for event in back.asked("conversation.item.create")]
    assert [item["role"] for item in retold[:3]] == ["assistant", "assistant", "system"], "what was heard, and noted"
    assert "problem: דלת" in json.dumps(retold[2], ensure_ascii=False)
    assert len(back.asked("response.create")) == 2, "the turn is judged and answered, and nothing else was said"
    assert talk.call.said == []
    await talk.call.hang_up()


async def test_a_model_that_goes_in_mid_turn_is_replaced_with_a_short_apology_and_the_same_step(world: World) -> None:
    silent = Faults(after=(After("input_audio_buffer.committed", ModelSession.stall),))
    talk = await greeted(world, faults=[silent])
    await talk.call.say(SPEECH)
    back = await second(world, talk)
    await back.session.wait_for("response.create")
    assert orders(back)[-1].endswith("«סליחה, הקו התנתק לרגע. אפשר להמשיך. ספרו לי בקצרה, מה קרה?»")
    await talk.call.hang_up()


async def test_a_model_that_refuses_again_and_again_ends_with_a_human_or_an_apology(world: World) -> None:
    faults = [Faults(), Faults(refuse_status=503), Faults(refuse_status=503)]
    talk = await greeted(world, ANSWERS_CITY, faults=faults)
    talk.session.reset()
    await talk.call.until(lambda: talk.call.dialled == ["+97231110009"])
    await talk.call.hang_up()
    found = await record(world, talk.call.sid, lambda found: found.whole)
    assert found.call["end_reason"] == "model_failed"


async def test_a_fallback_takes_over_while_the_first_endpoint_fails() -> None:
    async with ModelServer() as spare:
        settings = SETTINGS | {"OPENAI_FALLBACK_URL": spare.url, "OPENAI_FALLBACK_MODEL": "gpt-realtime-1.5"}
        async with World(settings) as world:
            first = await world.call(Judging([]), faults=[Faults(refuse_status=503)] * 2, to=LOCKSMITH)
            await first.until(lambda: bool(first.dialled))
            await first.hang_up()
            call = await world.call(Judging([]), faults=[Faults(refuse_status=503)], to=LOCKSMITH)
            await call.until(lambda: call.heard_ms > 300)
            await call.hang_up()
            assert len(spare.sessions) == 1
            assert spare.violations == []

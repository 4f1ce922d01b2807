"""A model that fails in mid-call is replaced: the caller keeps the line, the step and the conversation."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import pytest

from kav.call.breaker import FAILURES
from kav.call.replies import RATE_LIMIT_RETRY_S
from rehearsal.model import After, CallTool, Faults, ModelServer, ModelSession, Reply
from rehearsal.world import World
from tests.line.ending import record
from tests.line.listening import SPEECH, Talk
from tests.line.test_conversation import LOCKSMITH, Judging, greeted, orders, turn

SETTINGS = {"VAD_SILENCE_MS": "200", "MODEL_REPLY_TIMEOUT_S": "6", "DRAIN_SECONDS": "0", "MODEL_RECONNECTS": "2"}
ATTEMPTS = 3
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


@pytest.mark.parametrize(
    "fault",
    [
        Faults(refuse_status=503),
        Faults(refuse_status=429),
        Faults(upgrade_after_s=30),
        Faults(no_session_created=True, no_session_updated=True),
        Faults(refuse_update_code="invalid_value"),
    ],
    ids=["refuses", "has too many", "takes the connection alone", "takes the upgrade alone", "refuses the session"],
)
async def test_no_caller_is_lost_where_there_is_a_fallback(fault: Faults) -> None:
    async with ModelServer() as spare:
        settings = {"OPENAI_FALLBACK_URL": spare.url + "/", "OPENAI_FALLBACK_MODEL": "gpt-realtime-1.5"}
        async with World(SETTINGS | settings | {"MODEL_CONNECT_TIMEOUT_S": "3.5"}) as world:
            for number in range(1, FAILURES + 2):
                call = await world.call(Judging([]), faults=[fault] * 2, to=LOCKSMITH)
                await call.until(lambda call=call: call.heard_ms > 300)  # type: ignore[misc]  # a default binds it now
                await call.until_quiet()
                assert call.dialled == call.said == []
                await call.hang_up()
                assert len(spare.sessions) == number
            assert spare.violations == []
            await record(world, call.sid, lambda found: found.call.get("cost_micro_usd") is not None)
            status, told = await world.kav.ask("GET", f"/calls/{call.sid}")
            assert (status, [usage["model"] for usage in told["usage"]]) == (200, ["gpt-realtime-1.5"])


async def test_callers_do_not_wait_for_a_model_that_is_down_and_nobody_is_lost_when_it_is_back() -> None:
    settings = SETTINGS | {"MODEL_CONNECT_TIMEOUT_S": "2", "MODEL_REST_S": "4"}
    async with World(settings) as world:
        down = [Faults(upgrade_after_s=30)] * 2
        for _ in range(FAILURES):
            call = await world.call(Judging([]), faults=down, to=LOCKSMITH)
            await call.until(lambda call=call: bool(call.dialled))  # type: ignore[misc]  # a default binds it now
            await call.hang_up()
        calls = [await world.call(Judging([]), faults=down, to=LOCKSMITH) for _ in range(6)]
        for call in calls:
            await call.until(lambda call=call: bool(call.dialled))  # type: ignore[misc]  # a default binds it now
            await call.hang_up()
        asked = [world.upgrades_of(call) for call in calls]
        assert asked.count(0) >= 4, "but for one now and then they were handed over without asking the model"
        await asyncio.sleep(4.1)  # there is nothing to await: this is how long it is left alone
        talk = await greeted(world)
        await talk.call.hang_up()


async def test_a_reply_that_failed_for_there_were_too_many_is_asked_for_again_a_moment_later(world: World) -> None:
    too_many = Reply(status="failed", error=("rate_limit_exceeded", "Please try again in 1s."))
    went_on_s = []
    for _ in range(ATTEMPTS):
        talk = await greeted(world, too_many, ANSWERS_CITY)
        await turn(talk, voice=2)
        asked_at = [at for at, event in talk.session.received if event["type"] == "response.create"]
        greeting, judge, judge_again, answer = asked_at
        assert greeting < judge
        assert judge_again - judge >= RATE_LIMIT_RETRY_S
        assert len(world.sessions_of(talk.call)) == 1
        await talk.call.hang_up()
        went_on_s.append(answer - judge_again)
        if went_on_s[-1] < RATE_LIMIT_RETRY_S:
            return
    pytest.fail(f"it does not go on as if nothing had been: {went_on_s}")

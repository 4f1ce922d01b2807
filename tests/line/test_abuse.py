"""Callers who call too often or are blocked, and a day that has cost enough: words and the end, and never a model."""

from collections.abc import AsyncIterator

import pytest

from realtime_prompt_builder import load_phrases
from rehearsal.twilio import NUMBER, Call
from rehearsal.world import World
from tests.line.asking import about, ask
from tests.line.ending import read, record, talking, until_healthy

TOO_MANY, CLOSED, BUSY = (
    load_phrases().text(phrase, "he") for phrase in ("too_many_calls", "closed_for_today", "busy")
)
BLOCKED, PREFIX = "+972509999999", "+263771234567"


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """Two calls an hour, and two entries on the list."""
    settings = {"CALLS_PER_CALLER_PER_HOUR": "2", "BLOCKED_NUMBERS": f"{BLOCKED},+2637*", "DRAIN_SECONDS": "0"}
    async with World(settings) as world:
        yield world
        assert "Traceback" not in world.kav.log(1_000_000)


async def told(world: World, call: Call, words: str) -> None:
    await call.until_reported()
    assert (call.said, call.verbs, call.streams, world.sessions_of(call)) == ([words], ["Say", "Hangup"], [], [])


async def test_the_third_call_within_the_hour_is_told_so_and_opens_no_model(world: World) -> None:
    for _ in range(2):
        call = await world.twilio.call("+972507777777", NUMBER)
        await call.until_streaming()
        await call.hang_up()
    await told(world, third := await world.twilio.call("+972507777777", NUMBER), TOO_MANY)
    found = await record(world, third.sid, lambda found: bool(found.call.get("end_reason")))
    assert (found.call["end_reason"], found.streams) == ("refused", [])
    somebody = await talking(world)
    await somebody.call.hang_up()


async def test_who_was_told_that_the_lines_are_busy_may_call_again() -> None:
    settings = {"CALLS_PER_CALLER_PER_HOUR": "2", "MAX_CALLS": "1", "DRAIN_SECONDS": "0"}
    settings |= {"SILENCE_ASK_S": "60", "SILENCE_CLOSE_S": "90"}  # somebody is silent while others are turned away
    async with World(settings) as narrow:
        somebody = await talking(narrow)
        for _ in range(3):
            await told(narrow, await narrow.twilio.call("+972507777777", NUMBER), BUSY)
        await somebody.call.hang_up()
        await somebody.call.until_reported()
        for _ in range(2):
            call = await narrow.twilio.call("+972507777777", NUMBER)
            await call.until_streaming()
            await call.hang_up()
            await call.until_reported()
        await told(narrow, await narrow.twilio.call("+972507777777", NUMBER), TOO_MANY)


async def test_a_webhook_that_twilio_repeats_is_one_call_with_one_answer_and_one_model(world: World) -> None:
    caller, sid = "+972506666666", "CA" + "6" * 32
    form = about(sid, "ringing", From=caller, To=NUMBER)
    answers = [await ask(world, "/twilio/voice", form, repeated=token) for token in ("t1", "t1", "t2", "", "t3")]
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert "<Connect" in answers[0].body
    second = about("CA" + "7" * 32, "ringing", From=caller, To=NUMBER)
    assert "<Connect" in (await ask(world, "/twilio/voice", second)).body, "five requests were one call of the two"
    for ended in (form, second):
        await ask(world, "/twilio/status", ended | {"CallStatus": "completed"})
    await until_healthy(world, lambda figures: figures["models"] == 0)


@pytest.mark.parametrize("number", [BLOCKED, PREFIX])
async def test_a_blocked_number_never_meets_the_model(world: World, number: str) -> None:
    await told(world, await world.call(from_=number), TOO_MANY)


async def test_who_shows_no_number_is_not_counted(world: World) -> None:
    for number in range(4):
        form = about(f"CA{number:032x}", "ringing", From="anonymous", To=NUMBER)
        assert "<Connect" in (await ask(world, "/twilio/voice", form)).body
        await ask(world, "/twilio/status", form | {"CallStatus": "completed"})


async def test_a_status_that_comes_before_its_voice_webhook_opens_nothing(world: World) -> None:
    form = about("CA" + "5" * 32, "completed", From="+972505555555", To=NUMBER, CallDuration="0")
    before = len(world.model.sessions)
    assert (await ask(world, "/twilio/status", form)).status == 204
    late = await ask(world, "/twilio/voice", form | {"CallStatus": "ringing"})
    assert (late.status, "<Connect" in late.body, "<Reject" in late.body) == (200, False, True)
    assert len(world.model.sessions) == before


async def test_when_the_day_has_cost_enough_callers_are_told_to_call_tomorrow_and_nobody_is_called() -> None:
    async with World({"DAILY_SPEND_CAP_USD": "0.000001", "DRAIN_SECONDS": "0"}) as dear:
        talk = await talking(dear)
        await talk.call.until_quiet()
        await talk.call.hang_up()
        await record(dear, talk.call.sid, lambda found: bool(found.call.get("cost_micro_usd")))
        await told(dear, refused := await dear.call(), CLOSED)
        assert read(dear, refused.sid).call["cost_micro_usd"] is None
        order = {"to": "+972501234567", "flow": "sales", "variables": {"name": "דנה"}, "anytime": True}
        status, answer = await dear.kav.ask("POST", "/calls", order)
        assert (status, answer["error"]["code"]) == (429, "spent")

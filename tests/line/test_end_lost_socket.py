"""A media socket that is lost without the call having ended: closed all the same, then one fresh stream, then words."""

import asyncio
import re
import time
from collections.abc import AsyncIterator

import pytest

from realtime_prompt_builder import load_phrases
from rehearsal.model.mulaw import hum
from rehearsal.twilio import CallScript, Line
from rehearsal.world import World
from tests.line.asking import about, ask
from tests.line.ending import fin, read, talking

RESUMED, APOLOGY = (load_phrases().text(phrase, "he") for phrase in ("resumed", "apology"))
NEVER_OPENS = CallScript(line=Line(signature="forged", connect_after_s=1.0))


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """Twilio's patience is three seconds; what the caller hears from `<Say>` lasts longer."""
    settings = {"HANGUP_FALLBACK_S": "3", "MEDIA_SILENCE_S": "6", "PREWARM_UNCLAIMED_S": "8", "DRAIN_SECONDS": "0"}
    async with World(settings, speak=lambda text, language: hum(text[:60], language)) as world:
        yield world
        assert world.model.violations == []


def hang_ups(world: World, call_sid: str) -> int:
    return sum(call_sid in request.path and request.method == "POST" for request in world.twilio.rest.requests)


async def test_a_lost_socket_gives_one_fresh_stream_that_says_so_and_then_an_apology(world: World) -> None:
    await asyncio.gather(*(_lose_twice(world, kind) for kind in ("no_stop", "fin", "reset")))


async def _lose_twice(world: World, kind: str) -> None:
    talk = await talking(world)
    await talk.call.until_heard(1000)  # of the greeting: whoever has heard nothing of it is greeted again
    since = time.monotonic()
    talk.call.drop(kind)
    await fin(talk.session.peer, since)
    await talk.call.until_streaming(streams=2)
    second = await world.session_of(talk.call, 2)
    await second.wait_for("response.done")
    assert [RESUMED in item.text for item in second.conversation.items if item.role == "system"] == [True]
    assert [item.role for item in second.conversation.items][:2] == ["assistant", "system"], "it knows of the greeting"
    assert talk.call.said == []

    since = time.monotonic()
    talk.call.drop(kind)
    await fin(second.peer, since)
    await talk.call.until_reported()
    assert talk.call.said == [APOLOGY]
    found = await talk.record()
    assert (found.call["end_reason"], found.reasons) == ("socket_lost", ["socket_lost"] * 2)
    assert (len(talk.call.streams), len(world.sessions_of(talk.call)), talk.finalisations()) == (2, 2, 2)
    assert hang_ups(world, talk.call.sid) == 0, "Twilio asked what comes after: the apology is not cut short"


async def test_twilio_may_know_of_the_loss_first_and_take_its_time_with_the_fresh_stream(world: World) -> None:
    talk = await talking(world, line=CallScript(line=Line(connect_after_s=3.6)))
    since = time.monotonic()
    talk.call.drop("vanish")
    talk.call.stream.over.set()  # Twilio's own end has given it up; on Kav's nothing has happened
    await talk.closed(since, twilio=False)
    await talk.call.until_streaming(streams=2)
    await (await world.session_of(talk.call, 2)).wait_for("response.done")
    await talk.call.hang_up()
    assert len(world.sessions_of(talk.call)) == 2, "the model that was opened for the fresh stream served it"
    assert (await talk.record()).call["end_reason"] in ("caller_hung_up", "call_status_completed")


async def test_a_repeated_question_gets_the_same_answer(world: World) -> None:
    call = await world.call(line=CallScript(line=Line(connect_after_s=30)))
    await call.until(lambda: call.verbs == ["Connect"])
    form = about(call.sid, "in-progress")
    first = await ask(world, "/twilio/after-stream", form, repeated="once")
    again = await ask(world, "/twilio/after-stream", form, repeated="once")
    other = await ask(world, "/twilio/after-stream", form, repeated="twice")
    third = await ask(world, "/twilio/after-stream", form, repeated="twice")
    assert re.search('name="token" value="[^"]+"', first.body)
    assert first == again
    assert APOLOGY in other.body
    assert other == third
    await call.hang_up()


async def test_a_stream_that_never_opens_gets_a_second_try_and_then_an_apology(world: World) -> None:
    call = await world.call(line=NEVER_OPENS)
    session = await world.session_of(call)
    await call.until(lambda: call.said == [APOLOGY])
    await fin(session.peer, time.monotonic())
    assert [error.code for error in call.errors] == [31920, 31920]
    assert len(world.sessions_of(call)) == 1, "the model that was prewarmed served both tries, and nobody paid for more"
    await call.until_reported()
    assert read(world, call.sid).streams == []


@pytest.mark.parametrize(("hook", "fields"), [("after-stream", {}), ("dial-result", {"DialCallStatus": "no-answer"})])
async def test_a_live_call_that_nobody_knows_hears_an_apology_and_not_a_dead_line(
    world: World, hook: str, fields: dict[str, str]
) -> None:
    """Its process is gone: a deploy, or a crash."""
    sids = ("CA" + "f" * 32, "", "x" * 10_000, "CA\x00\ud7ff")
    answers = await asyncio.gather(
        *(ask(world, f"/twilio/{hook}", about(sid, "in-progress", **fields)) for sid in sids)
    )
    for answer in answers:
        assert (answer.status, "<Hangup" in answer.body, "<Connect" in answer.body) == (200, True, False)
        assert APOLOGY in answer.body
    over = await ask(world, f"/twilio/{hook}", about("CA" + "f" * 32, "completed", **fields))
    assert ("<Hangup" in over.body, "<Say" in over.body) == (True, False), "nobody pays for words on a dead line"
    assert (await world.kav.health())["entries"] == sum(read(world, c.sid).call != {} for c in world.twilio.calls)

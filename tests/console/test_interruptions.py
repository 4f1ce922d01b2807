"""Guards that every screen counts interruptions as the record does: the caller's alone, whatever streams are lost."""

import json
import re
from collections.abc import AsyncIterator, Mapping

import pytest

from rehearsal.twilio import Call
from rehearsal.world import World
from tests.console.browser import PASSWORD, Operator
from tests.console.desk import shown
from tests.console.test_events import Viewer, watching
from tests.line.ending import record, until_healthy
from tests.line.listening import SPEECH, Voiced, noise, say

CLINIC = "+97231110002"
GREETING_MS = 3000


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """Calls that are over are soon known from their record alone."""
    settings = {"KAV_CONSOLE_PASSWORD": PASSWORD, "ENTRY_TTL_S": "4", "VAD_SILENCE_MS": "200", "DRAIN_SECONDS": "0"}
    async with World(settings) as world:
        yield world


async def greeted(world: World) -> Call:
    """A call in the middle of its greeting."""
    call = await world.call(Voiced(say(noise(1, GREETING_MS))), to=CLINIC)
    await call.until_heard(500)
    return call


async def lose_the_stream(world: World, call: Call) -> None:
    """The socket is gone, and the caller has heard what is said on the next one."""
    call.drop("reset")
    await call.until_streaming(streams=2)
    again = await world.session_of(call, 2)
    await again.wait_for("response.done")
    await call.until_quiet(for_s=0.5)


async def counted_until_over(viewer: Viewer, call: Call) -> list[int]:
    """The figure in all news of a call up to that of its end."""
    counted: list[int] = []
    while True:
        line = await viewer.line()
        news = json.loads(line.removeprefix("data: "))["calls"] if line.startswith("data: ") else []
        for told in news:
            if told["sid"] == call.sid:
                counted.append(told["barge_ins"])
                if told["over"]:
                    return counted


async def pages(world: World, operator: Operator, call: Call) -> list[str]:
    """A call's page, out of memory and then as it is on record."""
    from_memory = await page(operator, call)
    await until_healthy(world, lambda health: health["entries"] == 0)
    return [from_memory, await page(operator, call)]


async def page(operator: Operator, call: Call) -> str:
    async with operator.get(f"/console/calls/{call.sid}", **{"Accept-Language": "en"}) as answer:
        assert answer.status == 200
        return shown(await answer.text())


def told(text: str) -> tuple[int, int, int, int]:
    """The figure, what the picture says and draws in its table, and the turns that are called interrupted."""
    figure = re.search(r"Interruptions (\d+) ", text)
    described = re.search(r"interruptions by the caller: (\d+)", text)
    assert figure
    assert described
    table = text.split("As a table")[1].split("The conversation")[0]
    return int(figure[1]), int(described[1]), table.count("Caller interrupts the bot"), text.count("Interrupted after")


async def on_record(world: World, call: Call) -> Mapping[str, object]:
    """The call's row, once the call and all its streams are over."""
    return (await record(world, call.sid, lambda found: found.whole and bool(found.streams))).call


async def test_an_interruption_stays_counted_when_its_stream_is_lost_and_when_the_call_is_over(world: World) -> None:
    async with Operator(world.kav.url) as operator, watching(operator) as viewer:
        call = await greeted(world)
        await call.say(SPEECH)
        await viewer.news_of(call.sid, barge_ins=1)
        await lose_the_stream(world, call)
        await call.hang_up()
        assert set(await counted_until_over(viewer, call)) == {1}
        assert (await on_record(world, call))["barge_ins"] == 1
        for text in await pages(world, operator, call):
            assert told(text) == (1, 1, 1, 1)


async def test_a_socket_that_is_lost_in_mid_sentence_interrupts_nobody(world: World) -> None:
    async with Operator(world.kav.url) as operator:
        call = await greeted(world)
        await lose_the_stream(world, call)
        await call.say(SPEECH)
        await (await world.session_of(call, 2)).wait_for("response.done", 2)
        await call.hang_up()
        assert (await on_record(world, call))["barge_ins"] == 0
        for text in await pages(world, operator, call):
            assert told(text) == (0, 0, 0, 0)
            assert re.search(r"Cut off after [\d.]+ m?s of 3.0 s", text)


async def test_a_key_silences_the_bot_and_is_no_interruption(world: World) -> None:
    async with Operator(world.kav.url) as operator:
        call = await greeted(world)
        call.dtmf("1")
        await call.until(lambda: bool(call.clears))
        await (await world.session_of(call)).wait_for("response.done", 2)
        await call.until_quiet(for_s=0.5)
        await call.hang_up()
        assert (await on_record(world, call))["barge_ins"] == 0
        for text in await pages(world, operator, call):
            assert told(text) == (0, 0, 0, 0)
            assert re.search(r"Cut off after [\d.]+ m?s of 3.0 s", text)

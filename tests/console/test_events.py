"""Guards the live calls' events over a real connection: told in time, few at once, ended by logout and by a stop."""

import asyncio
import json
import resource
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest

from rehearsal.world import World
from tests.console.browser import PASSWORD, Operator

VIEWERS = 2
COMMENT_EVERY_S = 15.0
MANY = 1050
"""Connections of others."""
EVENTS = "/console/events"


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """A world whose console two viewers may watch at once."""
    async with World({"KAV_CONSOLE_PASSWORD": PASSWORD, "KAV_CONSOLE_VIEWERS": str(VIEWERS)}) as world:
        yield world
        assert " ERROR " not in world.kav.log(1_000_000)


class Viewer:
    """Reads server-sent events as a page does."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._lines = answer.content

    async def line(self, timeout_s: float = 10.0) -> str:
        """The next line that is not empty; nothing at the end."""
        while True:
            line = await asyncio.wait_for(self._lines.readline(), timeout_s)
            if line != b"\n":
                return line.decode().strip()

    async def news_of(self, call_sid: str, **wanted: object) -> dict[str, Any]:
        """What is told of a call, once it is as wanted."""
        while True:
            line = await self.line()
            assert line, f"the events ended before {call_sid} was {wanted}"
            if not line.startswith("data: "):
                continue
            for call in json.loads(line.removeprefix("data: "))["calls"]:
                if call["sid"] == call_sid and wanted.items() <= call.items():
                    return dict(call)

    async def ends(self, timeout_s: float = 10.0) -> None:
        """Wait for the end."""
        async with asyncio.timeout(timeout_s):
            while await self.line():
                pass


@asynccontextmanager
async def watching(operator: Operator) -> AsyncIterator[Viewer]:
    """Watch; whoever has just left still counts until the next look, so ask for a while."""
    deadline = time.monotonic() + 5
    while True:
        async with operator.get(EVENTS) as answer:
            if answer.status == 503 and time.monotonic() < deadline:
                await asyncio.sleep(0.1)
                continue
            assert (answer.status, answer.content_type) == (200, "text/event-stream")
            viewer = Viewer(answer)
            assert (await viewer.line()).startswith("retry: ")
            yield viewer
            return


async def test_a_call_is_told_from_its_first_second_to_its_end(world: World) -> None:
    async with Operator(world.kav.url) as operator, watching(operator) as viewer:
        call = await world.connected_call()
        told = await viewer.news_of(call.sid, over=False, speaking="bot")
        assert told["who"] == call.order.from_
        await call.hang_up()
        began = time.monotonic()
        told = await viewer.news_of(call.sid, over=True)
        assert time.monotonic() - began < 8
        assert told["seconds"] < 30


async def test_a_quiet_line_is_kept_alive_beyond_the_time_of_a_request(world: World) -> None:
    """An answer may take 20 s otherwise, and Heroku cuts what is idle."""
    async with Operator(world.kav.url) as operator, watching(operator) as viewer:
        began, comments = time.monotonic(), 0
        while time.monotonic() - began < 25:
            line = await viewer.line(COMMENT_EVERY_S + 5)
            assert line, "the line was cut"
            comments += line == ":"
            if comments and time.monotonic() - began > 21:
                break
        assert comments


async def test_more_viewers_than_are_allowed_are_told_to_come_back(world: World) -> None:
    async with Operator(world.kav.url) as operator:
        async with watching(operator), watching(operator), operator.get(EVENTS) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
        async with watching(operator):  # who has left makes room before the next line would have been written to them
            pass


async def test_who_comes_when_a_thousand_connections_are_open_is_told_all_the_same(world: World) -> None:
    """`select` knows no descriptor from 1024 on."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 2 * (MANY + 400):
        pytest.skip("needs a limit of more open files (ulimit -n)")
    host, _, port = world.kav.url.removeprefix("http://").partition(":")
    async with AsyncExitStack() as others:
        for _ in range(MANY):
            _, writer = await asyncio.open_connection(host, int(port))
            others.callback(writer.close)
        async with Operator(world.kav.url) as operator, watching(operator) as viewer:
            call = await world.connected_call()
            await viewer.news_of(call.sid, over=False)
            await call.hang_up()
            await viewer.news_of(call.sid, over=True)


async def test_a_logout_ends_the_events(world: World) -> None:
    async with Operator(world.kav.url) as operator, watching(operator) as viewer:
        async with operator.post("/console/logout") as answer:
            assert answer.status == 200
        await viewer.ends()


async def test_a_stop_ends_the_events_and_is_not_delayed_by_them() -> None:
    settings = {"KAV_CONSOLE_PASSWORD": PASSWORD, "DRAIN_SECONDS": "0"}
    async with World(settings) as world, Operator(world.kav.url) as operator, watching(operator) as viewer:
        began = time.monotonic()
        world.kav.process.terminate()
        with suppress(aiohttp.ClientError):  # a process that goes at once may leave in mid-sentence
            await viewer.ends()
        assert await world.kav.ended() == 0
        assert time.monotonic() - began < 10

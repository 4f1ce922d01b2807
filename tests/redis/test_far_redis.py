"""Redis takes 200 ms to answer: nobody is taken for dead, what is done is told in time, and so leaves who leaves."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from typing import NamedTuple, cast

import pytest
import redis

from drain import LEAVE_S
from kav.shared import scripts
from kav.shared.lives import ALIVE_EVERY_S, ALIVE_FOR_S
from tests.line.asking import about
from tests.line.test_conversation import LOCKSMITH
from tests.redis.far import FarLine
from tests.redis.test_wandering_calls import ask_at
from tests.redis.town import STATUS, VOICE, Town

FAR_S, BEARABLE_S = 0.2, 0.45
"""What is promised, and what is just not taken for an outage."""

OVER, RINGING = 120, 40
"""Calls that are over and still known, and those that have no stream yet: one after the other, a round took 32 s."""

LOOK_FOR_S = ALIVE_FOR_S - 1
LEFT_MS = 1500
"""Of a process's time; what a machine that stands still takes of it comes on top of the sign that may be late."""
WRITTEN_S = 10.0
"""A chore is looked for twice a second, told within a second, and waits for its turn; on a busy machine."""


class Far(NamedTuple):
    town: Town
    line: FarLine
    redis: redis.Redis
    """By the short way."""
    processes: list[str]


def form(n: int, status: str = "ringing") -> dict[str, str]:
    return about(f"CA{n:032x}", status, From=f"+97250{n:07}", To=LOCKSMITH)


async def fill(town: Town) -> None:
    """The first Kav has many calls, most of them over."""

    async def one(n: int) -> None:
        assert "<Connect" in await ask_at(town, 0, VOICE, form(n))
        if n < OVER:
            await ask_at(town, 0, STATUS, form(n, "completed"))

    for first in range(0, OVER + RINGING, 10):
        await asyncio.gather(*(one(n) for n in range(first, first + 10)))


@pytest.fixture
async def far() -> AsyncIterator[Far]:
    async with FarLine() as line:
        town = Town(settings={"REDIS_URL": line.url})
        line.behind = town.redis.port
        async with town:
            await fill(town)
            processes = [(await town.health(place))["shared"]["process"] for place in (0, 1)]
            line.delay_s = FAR_S
            yield Far(town, line, redis.Redis.from_url(town.redis.url, decode_responses=True), processes)


async def lives(far: Far) -> None:
    """Each process shows in time that it lives."""
    until = time.monotonic() + LOOK_FOR_S
    while time.monotonic() < until:
        left_ms = [cast("int", far.redis.pttl(scripts.process_key(process))) for process in far.processes]
        assert min(left_ms) > LEFT_MS, "a sign of life, and one that may be late"
        await asyncio.sleep(0.1)


async def written(far: Far, n: int) -> float:
    """How long it takes until others can know that all is done after a call that ends now."""
    began_at = time.monotonic()
    await ask_at(far.town, 0, STATUS, form(n, "completed"))
    while "REPORT" not in json.loads(cast("str", far.redis.hget(scripts.call_key(form(n)["CallSid"]), "chores"))):
        assert time.monotonic() - began_at < 2 * WRITTEN_S, far.town.logs()
        await asyncio.sleep(0.05)
    return time.monotonic() - began_at


async def leave(far: Far, place: int) -> float:
    """How long a process takes to leave."""
    began_at = time.monotonic()
    far.town.kavs[place].signal(signal.SIGTERM)
    assert await far.town.kavs[place].ended() == 0
    return time.monotonic() - began_at


async def test_a_far_redis_lets_everybody_live_and_tells_of_what_was_done(far: Far) -> None:
    took = asyncio.gather(*(written(far, OVER + n) for n in range(5)))
    await lives(far)
    assert max(await took) < WRITTEN_S
    for place in (0, 1):
        await far.town.until_healthy(place, lambda found: "degraded" not in found)
        assert "its process has died" not in far.town.kavs[place].log(1_000_000)


async def test_a_process_leaves_a_far_redis_in_its_time(far: Far) -> None:
    assert await leave(far, 0) < LEAVE_S
    assert not far.redis.exists(scripts.process_key(far.processes[0])), "the other knows at once"
    far.line.delay_s = BEARABLE_S
    await asyncio.sleep(ALIVE_EVERY_S)  # the other has those calls by now, and is about to read them
    assert await leave(far, 1) < LEAVE_S

"""What befalls all calls at once: Kav's process, its database, its Redis and the model's endpoint stop, or are gone."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from chaos.ghosts import Stillness
from chaos.servers import Servers, kill, stall
from rehearsal.model import Faults
from rehearsal.model.faults import NEVER
from rehearsal.world import World

STOPPED_S = 1.5
"""How long the process stands still: as long as a laptop's lid, a busy host, a paused container."""

MODEL_AWAY_S = 2.5
"""How long the model's endpoint is down: longer than any one attempt to connect."""

FIRST, LAST = 0.08, 0.85
"""The part of a storm in which they come, so that what they leave behind is seen while calls go on."""

Lane = dict[str, Callable[[], Awaitable[None]]]


def lanes_of(world: World, servers: Servers, still: Stillness) -> list[Lane]:
    """What can befall: by lanes, each of which has one at a time, while the lanes meet as it comes."""
    database: Lane = {"the database is locked": servers.lock}
    if servers.postgres is not None:
        database = {
            "the database is killed": partial(kill, servers.postgres),
            "the database stands still": partial(stall, servers.postgres),
        }
    redis: Lane = {}
    if servers.redis is not None:
        redis = {"Redis is killed": partial(kill, servers.redis), "Redis stands still": partial(stall, servers.redis)}
    rest: Lane = {
        "the process stands still": partial(stand_still, world, still),
        "the model's endpoint refuses": partial(refuse, world),
        "the model's endpoint says nothing": partial(say_nothing, world),
    }
    return [database, redis, rest]


async def befall(lanes: Sequence[Lane], seconds: float, rounds: int, done: Counter[str]) -> None:
    """Let everything of every lane happen `rounds` times within the storm; `done` counts what has."""
    await asyncio.gather(*(_lane(lane, seconds, rounds, done) for lane in lanes))


async def _lane(lane: Lane, seconds: float, rounds: int, done: Counter[str]) -> None:
    began, places = time.monotonic(), len(lane) * rounds
    for place, (name, happen) in enumerate(list(lane.items()) * rounds):
        at = began + seconds * (FIRST + (LAST - FIRST) * place / places)
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        await happen()
        done[name] += 1


async def stand_still(world: World, still: Stillness) -> None:
    """The process gets no time at all; nobody may lose a call by it."""
    began = time.monotonic()
    world.kav.signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(STOPPED_S)
    finally:
        world.kav.signal(signal.SIGCONT)
        still.spans.append((began, time.monotonic()))


async def refuse(world: World) -> None:
    """The model's endpoint is down: nobody listens there. Sessions that are open go on."""
    async with world.model.away():
        await asyncio.sleep(MODEL_AWAY_S)


async def say_nothing(world: World) -> None:
    """The model's endpoint takes connections and answers none of them."""
    usual, world.model.faults_for = world.model.faults_for, lambda _: Faults(upgrade_after_s=NEVER)
    await asyncio.sleep(MODEL_AWAY_S)
    world.model.faults_for = usual

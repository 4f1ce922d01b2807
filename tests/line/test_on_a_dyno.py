"""Guards what Heroku does to every process and must not matter to this one."""

import asyncio

from rehearsal.world import World
from tests.line.ending import talking


async def test_web_concurrency_means_nothing() -> None:
    """The Python buildpack may set it: Kav is one process all the same, with every call in its one registry."""
    async with World({"WEB_CONCURRENCY": "2", "DRAIN_SECONDS": "0"}) as world:
        talks = await asyncio.gather(*(talking(world) for _ in range(4)))
        assert (await world.kav.health())["entries"] == 4
        await asyncio.gather(*(talk.call.hang_up() for talk in talks))

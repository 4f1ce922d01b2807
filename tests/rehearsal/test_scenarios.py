"""Guards whole calls as people have them: every scenario file, with real speech, in real time, all at the same time."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from rehearsal.player import play
from rehearsal.prompter import Voices
from rehearsal.scenario import FOLDER, load
from rehearsal.verdict import Verdict, judge
from rehearsal.world import World

FILES = sorted(FOLDER.glob("*.yaml"))
Performed = dict[str, "asyncio.Task[list[Verdict]]"]


@pytest.fixture(scope="module")
async def performed() -> AsyncIterator[Performed]:
    """Every scenario, set going at once in one world; each test awaits its own."""
    scenarios = {path.stem: load(path) for path in FILES}
    voices = Voices(scenarios.values())
    await asyncio.to_thread(voices.warm_up)

    async def verdicts(name: str) -> list[Verdict]:
        told: list[object] = []
        return judge(scenarios[name], await play(world, scenarios[name], told.append, voices.speak))

    async with World({"DRAIN_SECONDS": "0"}, speak=voices.speak) as world:
        tasks = {name: asyncio.get_running_loop().create_task(verdicts(name)) for name in scenarios}
        yield tasks
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


@pytest.mark.parametrize("name", [path.stem for path in FILES])
async def test_the_call_goes_as_its_scenario_says(performed: Performed, name: str) -> None:
    verdicts = await performed[name]
    assert verdicts
    assert [verdict for verdict in verdicts if verdict.ok is not True] == []

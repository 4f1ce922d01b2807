"""Guards whole calls as people have them: every scenario file, with real speech in real time, many at once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from rehearsal.player import play
from rehearsal.prompter import Voices
from rehearsal.scenario import FOLDER, load
from rehearsal.verdict import Verdict, judge
from rehearsal.world import World

FILES = sorted(FOLDER.glob("*.yaml"))
AT_ONCE = 24
"""As many as two cores carry that have other tests to run; what they disturb is played again, alone."""
REPLAYS = 2


@dataclass(frozen=True)
class Stage:
    """All scenarios, many at once, and each of them alone."""

    together: dict[str, "asyncio.Task[list[Verdict]]"]
    play_alone: Callable[[str], Awaitable[list[Verdict]]]

    async def verdicts(self, name: str) -> list[Verdict]:
        """A scenario's verdicts. One that fails is played again, alone: the others may have taken the machine."""
        verdicts = await self.together[name]
        for _ in range(REPLAYS):
            if all(verdict.ok is True for verdict in verdicts):
                break
            await asyncio.wait(self.together.values())
            verdicts = await self.play_alone(name)
        return verdicts


@pytest.fixture(scope="module")
async def stage() -> AsyncIterator[Stage]:
    """Every scenario, set going in one world; each test awaits its own."""
    scenarios = {path.stem: load(path) for path in FILES}
    voices = Voices(scenarios.values())
    await asyncio.to_thread(voices.warm_up)

    async def verdicts(name: str) -> list[Verdict]:
        told: list[object] = []
        return judge(scenarios[name], await play(world, scenarios[name], told.append, voices.speak))

    places = asyncio.Semaphore(AT_ONCE)

    async def in_its_turn(name: str) -> list[Verdict]:
        async with places:
            return await verdicts(name)

    async with World({"DRAIN_SECONDS": "0"}, speak=voices.speak) as world:
        tasks = {name: asyncio.get_running_loop().create_task(in_its_turn(name)) for name in scenarios}
        yield Stage(tasks, verdicts)
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


def test_each_of_the_four_hand_tests_is_one_scenario() -> None:
    assert sorted(number for path in FILES if (number := load(path).hand_test)) == [1, 2, 3, 4]


@pytest.mark.timeout(400)  # one that is played once more waits for all others
@pytest.mark.parametrize("name", [path.stem for path in FILES])
async def test_the_call_goes_as_its_scenario_says(stage: Stage, name: str) -> None:
    verdicts = await stage.verdicts(name)
    assert verdicts
    assert [verdict for verdict in verdicts if verdict.ok is not True] == []

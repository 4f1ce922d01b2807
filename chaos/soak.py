"""Thousands of short calls, one after another: memory, descriptors and greenlets stay where they are."""

import asyncio
import random
from pathlib import Path

from bench.report import Report, Table
from chaos.caller import Talker, live
from chaos.weather import SETTINGS
from rehearsal.model.mulaw import hum
from rehearsal.world import World

AT_A_TIME = 40
CALL_S = 1.0
LOOKS = 8
COUNTED = ("descriptors", "greenlets", "models", "sockets")
IN_PASSING = 5
"""Of what comes and goes: a request of Twilio's, a thread of a pool's."""
GROWTH = 1.10
"""Memory after the last calls, as a multiple of what it was after the first quarter: an allocator's own, no leak's."""


async def soak(calls: int, seed: int) -> Report:
    """So many calls, looked at from time to time."""
    report, chance = Report("soak"), random.Random(seed)
    async with World(SETTINGS, speak=lambda text, language: hum(text[:4], language)) as world:
        table, looks = Table(report, f"{calls} calls"), []
        for part in range(LOOKS):
            first = part * calls // LOOKS
            await _some(world, range(first, (part + 1) * calls // LOOKS), chance)
            looks.append(await _figures(world))
            table.row(calls=(part + 1) * calls // LOOKS, **looks[-1])
        early, late = looks[LOOKS // 4], looks[-1]
        report.promise("memory, late by early", late["rss_mb"] / early["rss_mb"], GROWTH, "x")
        for name in COUNTED:
            report.promise(f"{name} more than early", max(0, late[name] - early[name]), IN_PASSING, "")
    return report


async def _some(world: World, numbers: range, chance: random.Random) -> None:
    gate, talkers = asyncio.Semaphore(AT_A_TIME), list[Talker]()

    async def one(number: int) -> None:
        async with gate:
            await live(world, number, chance, CALL_S, talkers)

    await asyncio.gather(*map(one, numbers))
    for talker in talkers:
        await talker.call.until_reported(30)
    for call in talkers:
        call.call.streams.clear()  # the stand-in would remember every frame of every call
    world.twilio.calls.clear()
    world.model.sessions.clear()
    while (await world.kav.health())["entries"]:
        await asyncio.sleep(0.1)


async def _figures(world: World) -> dict[str, float]:
    figures = await world.kav.health()
    status = Path(f"/proc/{world.kav.pid}/status").read_text()
    rss_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return {"rss_mb": rss_kb / 1024} | {name: figures[name] for name in COUNTED}

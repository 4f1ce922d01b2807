"""Thousands of short calls, one after another: memory, descriptors and greenlets stay where they are."""

import asyncio
import random
from collections.abc import Sequence
from urllib.parse import urlsplit

from bench.report import Report, Table
from chaos import records
from chaos.caller import Talker, live
from chaos.ghosts import Stillness
from chaos.process import Figures, looked_at
from chaos.servers import Servers
from chaos.settings import SETTINGS
from rehearsal.model.mulaw import hum
from rehearsal.world import World

AT_A_TIME = 40
CALL_S = 1.0
LOOKS, SHORT_LOOKS, SHORT = 8, 4, 1000
"""How often it is looked at: in a soak of fewer than `SHORT` calls each look takes longer than the calls."""

COUNTED = ("open sockets", "open files", "threads", "greenlets", "models", "sockets")
IN_PASSING = 5
"""Of what comes and goes: a request of Twilio's, a thread of a pool's."""

NOISE_MB = 6.0
"""What an allocator takes or gives back at any time, however many calls there are."""

KB_A_CALL = 4.0
"""Growth per call over the second half, beyond that noise: what a leak of one turn would cost."""


async def soak(servers: Servers, calls: int, seed: int) -> Report:
    """So many calls, looked at from time to time."""
    report, chance, still = Report("soak"), random.Random(seed), Stillness()
    settings = {**SETTINGS, **servers.settings}
    async with (
        World(settings, speak=lambda text, language: hum(text[:4], language)) as world,
        still.watched(world.kav.pid),
    ):
        table, looks, wrong = Table(report, f"{calls} calls"), list[Figures](), 0
        parts = LOOKS if calls >= SHORT else SHORT_LOOKS
        for part in range(parts):
            upto = (part + 1) * calls // parts
            talkers = await _some(world, range(part * calls // parts, upto), chance)
            found = records.incomplete(servers, talkers, still)
            records.show(world, found)
            wrong += len(found)
            _forget(world, talkers)
            looks.append(await _figures(world, servers))
            table.row(calls=upto, **looks[-1])
        report.promise("calls whose record is not complete", wrong, 0, "calls")
        _judge_growth(report, looks, calls)
    return report


def _judge_growth(report: Report, looks: Sequence[Figures], calls: int) -> None:
    """Hold the figures after the last call to what they were after the first quarter, and after the half."""
    early, half, late = looks[len(looks) // 4 - 1], looks[len(looks) // 2 - 1], looks[-1]
    grown_kb = (late["rss_mb"] - half["rss_mb"]) * 1024
    limit_kb = KB_A_CALL + NOISE_MB * 1024 / (calls / 2)
    report.promise("memory over the second half, a call", max(0.0, grown_kb / (calls / 2)), limit_kb, "KB")
    for name in COUNTED:
        report.promise(f"{name} more than early", max(0, late[name] - early[name]), IN_PASSING, "")


async def _some(world: World, numbers: range, chance: random.Random) -> list[Talker]:
    """Some calls; returns when they are over and all of them is written down."""
    gate, talkers = asyncio.Semaphore(AT_A_TIME), list[Talker]()

    async def one(number: int) -> None:
        async with gate:
            await live(world, number, chance, CALL_S, talkers)

    await asyncio.gather(*map(one, numbers))
    for talker in talkers:
        await talker.call.until_reported(30)
    while (figures := await world.kav.health())["entries"] or figures["records"]["waiting"]:
        await asyncio.sleep(0.1)
    return talkers


def _forget(world: World, talkers: Sequence[Talker]) -> None:
    """Let the stand-ins forget: they would remember every frame of every call."""
    for talker in talkers:
        talker.call.streams.clear()
        talker.sessions.clear()
    world.twilio.calls.clear()
    world.model.sessions.clear()


async def _figures(world: World, servers: Servers) -> Figures:
    figures = await world.kav.health()
    held = {name: figures[name] for name in ("greenlets", "models", "sockets")}
    pooled = [*servers.ports, urlsplit(world.twilio.rest_url).port or 0]
    return looked_at(world.kav.pid, pooled) | held

"""A while of bad weather over many calls, and the verdicts: everything that must be true whatever has failed."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from bench.report import Report, Table, percentile
from chaos.caller import Talker, live
from chaos.descriptors import descriptors
from chaos.servers import Servers
from chaos.troubles import OF_A_CALL, stand_still
from kav.shared.link import MAX_CONNECTIONS
from rehearsal.model.mulaw import hum
from rehearsal.twilio.webhooks import Unanswered
from rehearsal.world import World

SETTINGS: Final = {
    "DRAIN_SECONDS": "0",
    "ENTRY_TTL_S": "2",
    "HANGUP_FALLBACK_S": "1",
    "MEDIA_SILENCE_S": "3",
    "MODEL_REPLY_TIMEOUT_S": "3",
    "TERMINAL_STATUS_S": "3",
    "VAD_SILENCE_MS": "200",
    "WRITE_STALL_S": "3",
    "MAX_CALLS": "300",
    "CALLS_PER_CALLER_PER_HOUR": "1000",
}
"""Patience in single seconds, so that what takes a minute in earnest is over in a few."""

ENDS_WITHIN_S: Final = 30.0
SETTLES_WITHIN_S: Final = 20.0
TROUBLE_EVERY_S: Final = 0.15
GHOST_MS: Final = 1000.0
"""Close frame and FIN on both sockets, in a storm, on a busy machine: what a human would still call at once."""
CROSSED: Final = ("cancel-not-active",)
"""Crosses with the model's own end on the wire, above all when a process stands still; to the API it is no error."""
POOLED: Final = {"pooled connections": MAX_CONNECTIONS}
"""Connections to Redis and the database, which their pools keep or let go as they like; else nothing may grow."""
COUNTED: Final = ("calls", "streams", "sockets", "models", "entries", "greenlets")


async def storm(calls: int, seconds: float, seed: int) -> Report:
    """So many calls at a time, for so long, and everything that can fail does."""
    report, chance = Report("storm"), random.Random(seed)
    async with (
        Servers() as servers,
        World({**SETTINGS, **servers.settings}, speak=lambda text, language: hum(text[:4], language)) as world,
    ):
        print(servers.names, flush=True)
        await _first_calls(world, chance)
        before = await _settled(world, servers, {})
        talkers: list[Talker] = []
        met = await _blow(world, servers, talkers, calls, seconds, chance)
        ended = await _all_ended(talkers)
        after = await _settled(world, servers, before)
        _tell(report, servers, talkers, met)
        _judge(report, world, servers, talkers, ended, before, after)
    return report


async def _first_calls(world: World, chance: random.Random) -> None:
    """What stays for good after the first calls, pools and connections, is none of the storm's."""
    warm: list[Talker] = []
    await asyncio.gather(*(live(world, 900_000 + number, chance, 1.0, warm) for number in range(4)))
    await _all_ended(warm)


async def _blow(
    world: World, servers: Servers, talkers: list[Talker], calls: int, seconds: float, chance: random.Random
) -> Counter[str]:
    until, met, numbers = time.monotonic() + seconds, Counter[str](), iter(range(1, 1_000_000))

    async def place() -> None:
        while time.monotonic() < until:
            await live(world, next(numbers), chance, 5.0, talkers)

    async def trouble() -> None:
        tasks: set[asyncio.Task[None]] = set()
        while time.monotonic() < until:
            await asyncio.sleep(TROUBLE_EVERY_S)
            going = [talker for talker in talkers if talker.call.ended_at is None and talker.call.streams]
            if going:
                tasks.add(asyncio.create_task(_meet(world, chance.choice(going), met, chance)))
        await asyncio.gather(*tasks)

    async def great_troubles() -> None:
        for share in (0.25, 0.6):
            await asyncio.sleep(max(0.0, until - seconds * (1 - share) - time.monotonic()))
            met.update(("the process stands still", "the database is away"))
            await stand_still(world, [talker for talker in talkers if talker.call.ended_at is None])
            await servers.database_away()
            met["Redis is away"] += await servers.redis_away()

    await asyncio.gather(trouble(), great_troubles(), *(place() for _ in range(calls)))
    return met


async def _meet(world: World, talker: Talker, met: Counter[str], chance: random.Random) -> None:
    trouble = chance.choice(OF_A_CALL)
    name = trouble.__name__.replace("_", " ")
    met[name] += 1
    talker.troubles.append(name)
    with suppress(LookupError, ConnectionError, RuntimeError, ValueError, Unanswered):  # the call may be over by now
        await trouble(world, talker, chance)


async def _all_ended(talkers: Sequence[Talker]) -> list[Talker]:
    """Wait until every call is over for Twilio; returns those that are not."""

    async def one(talker: Talker) -> Talker | None:
        try:
            await talker.call.until_reported(ENDS_WITHIN_S)
        except TimeoutError:
            return talker
        return None

    return [talker for talker in await asyncio.gather(*map(one, talkers)) if talker is not None]


async def _settled(world: World, servers: Servers, before: dict[str, int]) -> dict[str, int]:
    """Wait until nothing more is there than before; return what is there then."""
    deadline = time.monotonic() + SETTLES_WITHIN_S
    while True:
        figures = await world.kav.health()
        now = {name: figures[name] for name in COUNTED} | {"records that wait": figures["records"]["waiting"]}
        now |= descriptors(world.kav.pid, servers.ports)
        more = [name for name in now if now[name] > before.get(name, 0) + POOLED.get(name, 0)]
        calm = not (now["entries"] or now["sockets"] or now["models"] or now["records that wait"])
        if time.monotonic() > deadline or (calm and not (before and more)):
            return now
        await asyncio.sleep(0.2)


def _tell(report: Report, servers: Servers, talkers: Sequence[Talker], met: Counter[str]) -> None:
    table = Table(report, f"{len(talkers)} calls")
    for name, times in sorted(met.items()):
        table.row(trouble=name, times=times)
    reasons = Counter(str(row["end_reason"]) for row in servers.rows("calls"))
    ends = Table(report, "how they ended, by their records")
    for reason, count in sorted(reasons.items()):
        ends.row(reason=reason, calls=count)


def _judge(
    report: Report,
    world: World,
    servers: Servers,
    talkers: Sequence[Talker],
    open_calls: Sequence[Talker],
    before: dict[str, int],
    after: dict[str, int],
) -> None:
    for talker in open_calls[:3]:
        print(f"    not over: {talker.troubles}: {talker.call.story()}")
    report.promise("calls that are not over", len(open_calls), 0, "calls")
    sids = {talker.call.sid for talker in talkers}
    incomplete = _incomplete(servers, sids)
    for sid in incomplete[:3]:
        print(f"    incomplete: {sid}", *world.kav.log_of(sid)[-6:], sep="\n      ")
    report.promise("calls whose record is not complete", len(incomplete), 0, "calls")
    report.promise("bytes heard of another call", sum(map(Talker.strange_bytes, talkers)), 0, "bytes")
    foreign = sum(talker.foreign_frames(world.sessions_of(talker.call)) for talker in talkers)
    report.promise("frames that reached another call's model", foreign, 0, "frames")
    for name, figure in after.items():
        report.promise(f"{name} more than before", max(0, figure - before[name]), POOLED.get(name, 0), "")
    ghosts = [row["socket_ghost_ms"] for row in servers.rows("streams") if row["socket_ghost_ms"] is not None]
    report.promise("socket ghost, p99", percentile(ghosts, 0.99), GHOST_MS)
    report.promise("socket ghost, longest", max(ghosts, default=0.0), 2 * GHOST_MS)
    violations = [violation for violation in world.model.violations if violation.rule not in CROSSED]
    report.promise("rules of the model's that were broken", len(violations), 0, "")
    broken = [notice for call in world.twilio.calls for notice in call.violations]
    report.promise("rules of Twilio's that were broken", len(broken), 0, "")
    for notice in (*broken[:3], *violations[:3]):
        print(f"    {notice}")


def _incomplete(servers: Servers, sids: set[str]) -> list[str]:
    """The calls without an end, a terminal status, or the end of a stream."""
    calls = {row["call_sid"]: row for row in servers.rows("calls")}
    unended = {row["call_sid"] for row in servers.rows("streams") if row["ended_at"] is None}
    whole = {sid for sid, row in calls.items() if row["end_reason"] and row["terminal_status"] and sid not in unended}
    return sorted(sids - whole)

"""A while of bad weather over many calls: everything around Kav fails while they run, and then it is judged."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from bench.report import Report
from chaos import verdict
from chaos.caller import Talker, live
from chaos.disasters import befall, lanes_of
from chaos.ghosts import Stillness
from chaos.process import Figures, Watch, looked_at, unpooled
from chaos.servers import Servers
from chaos.settings import SETTINGS
from chaos.troubles import Deck
from rehearsal.model.mulaw import hum
from rehearsal.world import World

ENDS_WITHIN_S: Final = 30.0
SETTLES_WITHIN_S: Final = 20.0
TROUBLE_EVERY_S: Final = 0.15
ROUND_S: Final = 30.0
"""A storm has everything that befalls all calls once, and once more for each so many seconds."""

COUNTED: Final = ("calls", "streams", "sockets", "models", "entries", "greenlets")


async def storm(servers: Servers, calls: int, seconds: float, seed: int) -> Report:
    """So many calls at a time, for so long, and everything that can fail does."""
    report, chance, still = Report("storm"), random.Random(seed), Stillness()
    settings = {**SETTINGS, **servers.settings}
    async with (
        World(settings, speak=lambda text, language: hum(text[:4], language)) as world,
        still.watched(world.kav.pid),
    ):
        await _first_calls(world, chance)
        pooled = [*servers.ports, urlsplit(world.twilio.rest_url).port or 0]
        before = await _settled(world, pooled, {})
        talkers, deck, befell = list[Talker](), Deck(chance), Counter[str]()
        lanes = lanes_of(world, servers, still)
        async with Watch(world.kav.pid, pooled) as watch:
            blow = _blow(world, talkers, deck, calls, seconds, chance)
            await asyncio.gather(blow, befall(lanes, seconds, max(1, round(seconds / ROUND_S)), befell))
            open_calls = await _all_ended(talkers)
        after = await _settled(world, pooled, before)
        seen = verdict.Seen(world, servers, talkers, open_calls, still)
        verdict.tell(report, seen, verdict.Weather(deck, befell, [name for lane in lanes for name in lane]))
        verdict.judge(report, seen, verdict.Looks(before, watch.most, after))
    return report


async def _first_calls(world: World, chance: random.Random) -> None:
    """What stays for good after the first calls, pools and connections, is none of the storm's."""
    warm: list[Talker] = []
    await asyncio.gather(*(live(world, 900_000 + number, chance, 1.0, warm) for number in range(4)))
    await _all_ended(warm)


async def _blow(
    world: World, talkers: list[Talker], deck: Deck, calls: int, seconds: float, chance: random.Random
) -> None:
    until, numbers = time.monotonic() + seconds, iter(range(1, 1_000_000))

    async def place() -> None:
        while time.monotonic() < until:
            await live(world, next(numbers), chance, 5.0, talkers)

    async def trouble() -> None:
        tasks: set[asyncio.Task[None]] = set()
        while time.monotonic() < until:
            await asyncio.sleep(TROUBLE_EVERY_S)
            going = [talker for talker in talkers if talker.live_stream() is not None]
            if going:
                tasks.add(asyncio.create_task(deck.meet(chance.choice(going))))
        await asyncio.gather(*tasks)

    await asyncio.gather(trouble(), *(place() for _ in range(calls)))


async def _all_ended(talkers: Sequence[Talker]) -> list[Talker]:
    """Wait until every call is over for Twilio; returns those that are not."""

    async def one(talker: Talker) -> Talker | None:
        try:
            await talker.call.until_reported(ENDS_WITHIN_S)
        except TimeoutError:
            return talker
        return None

    return [talker for talker in await asyncio.gather(*map(one, talkers)) if talker is not None]


async def _settled(world: World, pooled: Sequence[int], before: Figures) -> Figures:
    """Wait until nothing more is there than before; return what is there then."""
    deadline = time.monotonic() + SETTLES_WITHIN_S
    while True:
        figures = await world.kav.health()
        now = {name: figures[name] for name in COUNTED} | {"records that wait": figures["records"]["waiting"]}
        now |= looked_at(world.kav.pid, pooled)
        more = [name for name in now if now[name] > before.get(name, 0) + verdict.GROWS.get(name, 0)]
        calm = not (now["entries"] or now["sockets"] or now["models"] or now["records that wait"])
        if calm and not (before and more):
            return now
        if time.monotonic() > deadline:
            print(f"    not as before: {more}", *unpooled(world.kav.pid, pooled), sep="\n      ")
            return now
        await asyncio.sleep(0.2)

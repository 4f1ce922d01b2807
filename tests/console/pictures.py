"""Takes the pictures of the console that stand in docs/: `python -m tests.console.pictures [FOLDER]`, in two minutes.

A rehearsal of real calls: some are over, some go on. Calls of the day's earlier hours are made up and put on record, so
that a day's figures have a day to show. One flow file is put into the folder with mistakes in it, so that one sees it
checked.
"""

import asyncio
import random
import shutil
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from playwright.async_api import Browser, Page
from sqlalchemy import insert

from kav.flow_files import FOLDER
from kav.records.database import build_engine, parse_url
from kav.records.models import CALLS, STREAMS, TURNS
from rehearsal.player import play
from rehearsal.prompter import Voices
from rehearsal.scenario import Scenario, load
from rehearsal.typist import Typist
from rehearsal.world import World
from tests.console.browser import BROWSER, PASSWORD
from tests.console.chromium import chromium, logged_in
from tests.line.ending import until_healthy

DOCS: Final = Path(__file__).parents[2] / "docs"
SCENARIOS: Final = Path(__file__).parents[2] / "rehearsal" / "scenarios"
PICTURED: Final = Path(__file__).with_name("pictured")
STAR: Final = PICTURED / "urgent.yaml"
FAULTY: Final = PICTURED / "pharmacy.yaml"
ENDED: Final = ("a_person_takes_over", "english_at_the_clinic", "silence", "outbound_not_interested", "side_question")
GOING_ON: Final = ("english_at_the_clinic", "outbound_to_the_closing", "keys_at_the_clinic", "side_question_within")
ONE_AFTER_ANOTHER_S: Final = 8.0

HOUR: Final = 17
"""What the clock shows in the pictures, whenever they are taken: a day has to be well on its way."""
BUSY: Final = {8: 4, 9: 7, 10: 9, 11: 6, 12: 5, 13: 3, 14: 4, 15: 6, 16: 8}
"""Calls by the hour."""
REASONS: Final = (*("goodbye",) * 6, *("caller_hung_up",) * 4, "transferred", "transferred", "silence", "machine")
WIDTH: Final = 1280


def zone() -> str:
    """A time zone in which it is `HOUR` now."""
    east = (HOUR - datetime.now(UTC).hour + 11) % 24 - 11
    return f"Etc/GMT{-east:+d}"


def earlier(now: datetime, luck: random.Random) -> Iterator[tuple[dict[str, Any], ...]]:
    """Calls of the earlier hours: each as the rows of a call, its stream, and two of the bot's turns."""
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    for hour, calls in BUSY.items():
        for _ in range(calls):
            began = this_hour - timedelta(hours=HOUR - hour) + timedelta(seconds=luck.randrange(3600))
            reason = luck.choice(REASONS)
            yield _earlier(f"CA{luck.getrandbits(128):032x}", began, reason, luck)


def _earlier(sid: str, began: datetime, reason: str, luck: random.Random) -> tuple[dict[str, Any], ...]:
    lasted, outbound = timedelta(seconds=luck.randrange(25, 190)), reason == "machine"
    stream = {"stream_sid": f"MZ{sid}", "call_sid": sid, "end_reason": reason, "reaction_ms": luck.uniform(1, 6)}
    call = {
        "call_sid": sid, "created_at": began, "updated_at": began + lasted, "ended_at": began + lasted,
        "direction": "outbound" if outbound else "inbound",
        "business": "sales" if outbound else luck.choice(("clinic", "clinic", "locksmith")),
        "from_number": "+97231110003" if outbound else f"+97250100{luck.randrange(1000):04}",
        "to_number": f"+97250100{luck.randrange(1000):04}" if outbound else "+97231110002",
        "end_reason": reason, "terminal_status": "completed", "duration_s": lasted.seconds,
        "flow_done": reason == "goodbye", "barge_ins": luck.choice((0, 0, 1, 2)),
        "cost_micro_usd": round(lasted.seconds * luck.uniform(900, 1400)),
        "socket_ghost_ms": luck.uniform(0.6, 3),
        "line_ghost_ms": luck.uniform(15, 90) if reason != "caller_hung_up" else None,
    }  # fmt: skip
    greeting = {"number": 1, "kind": "phrase", "at_ms": luck.randrange(280, 420), "latency_ms": None}
    answer = {"number": 2, "kind": "speak", "at_ms": 9000, "latency_ms": luck.randrange(290, 620)}
    return call, stream, *({"call_sid": sid, "who": "bot", **turn} for turn in (greeting, answer))


def remember(world: World) -> None:
    """Put the earlier calls on record."""
    rows = list(earlier(datetime.now(UTC), random.Random(7)))
    engine = build_engine(parse_url(f"sqlite:///{world.kav.database}"), "write")
    with engine.begin() as connection:
        connection.execute(insert(CALLS), [call for call, *_ in rows])
        connection.execute(insert(STREAMS), [stream for _, stream, *_ in rows])
        connection.execute(insert(TURNS).values(language="he"), [turn for _, _, *turns in rows for turn in turns])
    engine.dispose()


class Photographer:
    """Takes pictures of one world's console."""

    def __init__(self, browser: Browser, world: World, folder: Path, language: str) -> None:
        self._browser, self._world, self._folder, self._language = browser, world, folder, language

    @asynccontextmanager
    async def before(self, path: str, height: int = 720) -> AsyncIterator[Page]:
        """A page of the console's, ready to be taken."""
        async with logged_in(self._browser, self._world, path, self._language) as page:
            await page.set_viewport_size({"width": WIDTH, "height": height})
            yield page

    async def take(self, name: str, path: str, height: int = 720, once: str = "main") -> None:
        """Take a page as it is once it has settled, and shows what the selector `once` finds."""
        async with self.before(path, height) as page:
            await page.wait_for_timeout(1500)
            await page.wait_for_selector(once)
            await self.save(page, name)

    async def flows(self) -> None:
        """Take the flow files: all, one that is in use, and one with mistakes."""
        await self.take("flows", "/console/flows", 480)
        await self.take("flow", "/console/flows/clinic.yaml", 900)
        await self.take("flow-faulty", f"/console/flows/{FAULTY.name}", 860)

    async def save(self, page: Page, name: str) -> None:
        """Keep what the page shows."""
        await page.screenshot(path=self._folder / f"console-{name}.png")

    async def login(self) -> None:
        """Take the door, which nobody sees who is inside."""
        context = await self._browser.new_context(locale=self._language, viewport={"width": WIDTH, "height": 480})
        page = await context.new_page()
        await page.goto(f"{self._world.kav.url}/console/login")
        await self.save(page, "login")
        await context.close()

    async def phone(self) -> None:
        """Take the browser phone in the middle of a call."""
        async with self.before("/console/phone", 750) as page:
            number = self._world.expect(BROWSER, Typist())
            await page.select_option("#flow", "clinic")
            await page.uncheck("#use-microphone")
            await page.click("#place button")
            await self._world.session_with(BROWSER, number)
            for wait_ms, line in ((9500, "כבר היו כאן"), (2500, "כמה עולה סתימה?")):
                await page.wait_for_timeout(wait_ms)
                await page.fill("#line", line)
                await page.keyboard.press("Enter")
            await page.mouse.move(0, 0)
            await page.wait_for_timeout(2500)
            await self.save(page, "phone")
            await page.click("#hang-up")


def going_on_now(world: World) -> str:
    """The newest call that goes on."""
    return next(call.sid for call in reversed(world.twilio.calls) if call.ended_at is None)


async def rehearse(world: World, scenarios: Iterable[Scenario], voices: Voices, after_s: float = 0.0) -> list[str]:
    """Play scenarios, each beginning `after_s` later than the one before; returns their calls."""

    async def one(place: int, scenario: Scenario) -> str:
        await asyncio.sleep(place * after_s)
        performance = await play(world, scenario, lambda _happening: None, voices.speak)
        return performance.call.sid

    return await asyncio.gather(*(one(place, scenario) for place, scenario in enumerate(scenarios)))


async def main(folder: Path, language: str = "he") -> None:
    """Take them all."""
    with TemporaryDirectory() as flows:
        shutil.copytree(FOLDER, flows, dirs_exist_ok=True)
        await _take_all(folder, language, Path(flows))


async def _take_all(folder: Path, language: str, flows: Path) -> None:
    star = load(STAR)
    ended, going_on = ([load(SCENARIOS / f"{name}.yaml") for name in names] for names in (ENDED, GOING_ON))
    voices = Voices([star, *ended, *going_on])
    await asyncio.to_thread(voices.warm_up)
    settings = {"KAV_CONSOLE_PASSWORD": PASSWORD, "KAV_TIMEZONE": zone(), "DRAIN_SECONDS": "0", "KAV_FLOWS": str(flows)}
    async with World(settings, speak=voices.speak) as world, chromium(language=language) as browser:
        camera = Photographer(browser, world, folder, language)
        await until_healthy(world, lambda figures: not figures["records"]["waiting"])  # the tables are there
        shutil.copy(FAULTY, flows)
        remember(world)
        sids = await rehearse(world, [star, *ended], voices)
        await camera.login()
        await camera.flows()
        await camera.take("call", f"/console/calls/{sids[0]}", 1250)
        await camera.phone()
        playing = asyncio.create_task(rehearse(world, [star, *going_on], voices, ONE_AFTER_ANOTHER_S))
        await asyncio.sleep(ONE_AFTER_ANOTHER_S * (len(going_on) + 0.6))
        await camera.take("live", "/console/", once=".voice.caller")
        await camera.take("end", f"/console/calls/{going_on_now(world)}/end", 480)
        await camera.take("calls", "/console/calls")
        await camera.take("today", "/console/today", 1060)
        playing.cancel()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS, *sys.argv[2:]))

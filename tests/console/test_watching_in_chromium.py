"""The pages that follow calls, in a real browser: they leave alone what somebody reads or points at, and never give up.

They also say in which language something is said, and when nobody tells them anything any more.
"""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, expect

from rehearsal.model import ObedientScript
from rehearsal.world import World
from tests.console.browser import PASSWORD
from tests.console.chromium import WAIT_MS, logged_in
from tests.line.ending import record
from tests.line.listening import SPEECH

ANSWER = "השעה שלוש."


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """A console that one page may watch at a time."""
    settings = {"KAV_CONSOLE_PASSWORD": PASSWORD, "KAV_CONSOLE_VIEWERS": "1", "DRAIN_SECONDS": "0"}
    quiet = {"SILENCE_ASK_S": "60", "SILENCE_CLOSE_S": "90"}  # nobody asks silent callers whether they are there
    async with World({**settings, **quiet}) as world:
        yield world
        assert " ERROR " not in world.kav.log(1_000_000)


async def refreshed(page: Page) -> None:
    """Wait until the page has been fetched anew, and is as it was fetched."""
    await page.evaluate("document.querySelector('#streams p').dataset.old = '1'")
    await expect(page.locator("#streams p[data-old]")).to_have_count(0, timeout=WAIT_MS)


async def hide(page: Page, *, hidden: bool = True) -> None:
    """Do as a browser does whose tab is left, or seen again."""
    await page.evaluate(
        """(hidden) => {
            Object.defineProperty(document, "hidden", { get: () => hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


@pytest.mark.parametrize("place", [".timeline .scroll", "details.alternative summary", "#end-call", "#latency a"])
async def test_who_is_somewhere_on_a_calls_page_stays_there(world: World, browser: Browser, place: str) -> None:
    call = await world.connected_call(ObedientScript([ANSWER] * 9))
    async with logged_in(browser, world, f"/console/calls/{call.sid}") as page:
        await page.locator(".timeline").wait_for()
        if place.startswith("#latency"):
            await call.say(SPEECH)
        there = page.locator(place).first
        await there.focus()
        await call.say(SPEECH)
        await refreshed(page)
        assert await there.evaluate("(node) => node === document.activeElement")
        await call.hang_up()


async def test_what_is_unfolded_and_scrolled_to_stays_so(world: World, browser: Browser) -> None:
    call = await world.connected_call(ObedientScript([ANSWER] * 9))
    async with logged_in(browser, world, f"/console/calls/{call.sid}") as page:
        await page.set_viewport_size({"width": 375, "height": 667})
        await page.click("details.alternative summary")
        await page.evaluate("document.querySelector('.timeline .scroll').scrollLeft = 120")
        await call.say(SPEECH)
        await refreshed(page)
        assert await page.locator("details.alternative").get_attribute("open") is not None
        assert await page.evaluate("document.querySelector('.timeline .scroll').scrollLeft") == 120
        await call.hang_up()


async def test_a_refreshed_page_is_the_same_as_one_that_was_just_opened(world: World, browser: Browser) -> None:
    call = await world.connected_call(ObedientScript([ANSWER] * 9))
    path = f"/console/calls/{call.sid}"
    async with logged_in(browser, world, path) as page:
        await page.locator(".turn.bot").first.wait_for()
        await call.hang_up()
        await expect(page.locator(".heading .tag")).to_have_text("The caller hung up", timeout=WAIT_MS)
        await call.until_reported()
        text = "document.getElementById('call').innerText"
        opened = await page.context.new_page()
        await opened.goto(world.kav.url + path)
        await expect(opened.locator("#call")).to_contain_text("Completed")
        await expect(page.locator("#call")).to_contain_text("Completed", timeout=WAIT_MS)
        deadline = time.monotonic() + WAIT_MS / 1000
        while (now := (await page.evaluate(text)).split()) != (fresh := (await opened.evaluate(text)).split()):
            assert time.monotonic() < deadline, (now, fresh)
            await opened.reload()  # the page follows within seconds what came after the end


async def test_words_are_read_out_in_their_own_language(world: World, browser: Browser) -> None:
    call = await world.connected_call(ObedientScript([ANSWER]))
    async with logged_in(browser, world, f"/console/calls/{call.sid}", "en") as page:
        words = page.locator(".turn.bot .words").first
        await expect(words).to_contain_text("שלום", timeout=WAIT_MS)
        assert await words.get_attribute("lang") == "he"
        await call.hang_up()


async def test_a_calls_page_that_is_not_told_says_so_and_follows_its_call_all_the_same(
    world: World, browser: Browser
) -> None:
    """Somebody else watches: the events are refused with a 503, which no browser asks about again."""
    async with logged_in(browser, world, "/console/") as watcher:
        await expect(watcher.locator("#connection")).to_have_text("Up to date", timeout=WAIT_MS)
        call = await world.connected_call(ObedientScript([ANSWER]))
        page = await watcher.context.new_page()
        await page.goto(f"{world.kav.url}/console/calls/{call.sid}")
        await expect(page.locator("#connection")).to_contain_text("trying again", timeout=WAIT_MS)
        await call.hang_up()
        await expect(page.locator(".heading .tag")).to_have_text("The caller hung up", timeout=WAIT_MS)


async def test_a_page_that_is_not_told_is_told_again_once_there_is_room(world: World, browser: Browser) -> None:
    async with logged_in(browser, world, "/console/") as watcher:
        await expect(watcher.locator("#connection")).to_have_text("Up to date", timeout=WAIT_MS)
        page = await watcher.context.new_page()
        await page.goto(f"{world.kav.url}/console/")
        await expect(page.locator("#connection")).to_contain_text("trying again", timeout=WAIT_MS)
        await watcher.goto(f"{world.kav.url}/console/calls")
        await expect(page.locator("#connection")).to_have_text("Up to date", timeout=WAIT_MS)


async def test_how_many_calls_go_on_is_right_after_the_connection_was_lost(world: World, browser: Browser) -> None:
    call = await world.connected_call(ObedientScript([ANSWER]))
    async with logged_in(browser, world, "/console/") as page:
        await expect(page.locator("#live-count")).to_have_text("1", timeout=WAIT_MS)
        await page.context.route("**/console/events", lambda route: route.fulfill(status=429))
        await page.reload()
        await expect(page.locator("#connection")).to_contain_text("trying again", timeout=WAIT_MS)
        await call.hang_up()
        await asyncio.sleep(11)  # over, and gone from the list
        await page.context.unroute("**/console/events")
        await expect(page.locator("#connection")).to_have_text("Up to date", timeout=WAIT_MS)
        await expect(page.locator("#live-count")).to_have_text("0", timeout=WAIT_MS)
        await expect(page.locator("#calls tr")).to_have_count(0, timeout=WAIT_MS)


async def test_the_page_of_a_call_that_has_ended_asks_a_few_times_more(world: World, browser: Browser) -> None:
    """Twilio's status, the summary and the recording come after the end."""
    call = await world.connected_call(ObedientScript([ANSWER]))
    path = f"/console/calls/{call.sid}"
    async with logged_in(browser, world, path) as page:
        await page.locator(".turn.bot").first.wait_for()
        await call.hang_up()
        await expect(page.locator(".heading .tag")).to_have_text("The caller hung up", timeout=WAIT_MS)
        opened = await page.context.new_page()
        await opened.goto(world.kav.url + path)
        await expect(opened.locator(".heading .tag")).to_have_text("The caller hung up", timeout=WAIT_MS)
        for each in (page, opened):
            async with each.expect_request(world.kav.url + path, timeout=10_000):
                await each.evaluate("document.querySelector('#streams p').dataset.old = '1'")
            await expect(each.locator("#streams p[data-old]")).to_have_count(0, timeout=10_000)


async def test_a_page_looks_again_after_2_6_and_20_seconds_and_then_no_more(world: World, browser: Browser) -> None:
    call = await world.connected_call(ObedientScript([ANSWER]))
    await call.hang_up()
    await record(world, call.sid, lambda found: found.call.get("terminal_status") == "completed")
    asked: list[str] = []
    path = f"/console/calls/{call.sid}"
    async with logged_in(browser, world, "/console/calls") as page:
        await page.clock.install()
        await page.goto(world.kav.url + path)
        page.on("request", lambda request: asked.append(request.url) if request.url.endswith(path) else None)
        for ms in (2500, 4000, 14_000):
            await page.evaluate("document.querySelector('#streams p').dataset.old = '1'")
            await page.clock.run_for(ms)
            await expect(page.locator("#streams p[data-old]")).to_have_count(0, timeout=WAIT_MS)
        await page.clock.run_for(120_000)
        assert len(asked) == 3


async def test_a_page_that_nobody_sees_takes_no_connection_and_does_not_say_that_it_is_lost(
    world: World, browser: Browser
) -> None:
    """Browsers open six to one host: a seventh page could not even end its call."""
    async with logged_in(browser, world, "/console/") as watcher:
        await expect(watcher.locator("#connection")).to_have_text("Up to date", timeout=WAIT_MS)
        await hide(watcher)
        page = await watcher.context.new_page()
        await page.goto(f"{world.kav.url}/console/")
        await expect(page.locator("#connection")).to_have_text("Up to date", timeout=WAIT_MS)
        await asyncio.sleep(1)
        assert await watcher.locator("#connection").inner_text() == "Up to date"
        assert "on" in (await watcher.locator("#connection").get_attribute("class") or "").split()


@pytest.mark.parametrize("which", ["live", "call"])
async def test_a_page_that_is_seen_again_is_as_it_should_be_at_once(world: World, browser: Browser, which: str) -> None:
    call = await world.connected_call(ObedientScript([ANSWER]))
    path = "/console/" if which == "live" else f"/console/calls/{call.sid}"
    async with logged_in(browser, world, path) as page:
        await expect(page.locator("#connection")).to_have_text("Up to date", timeout=WAIT_MS)
        row = page.locator(f'#calls tr[data-sid="{call.sid}"] [data-f=speaker]')
        where = row if which == "live" else page.locator(".heading .tag")
        await expect(where).to_be_visible(timeout=WAIT_MS)
        await hide(page)
        await call.hang_up()
        await asyncio.sleep(2)
        assert await where.inner_text() != "The caller hung up", "nobody looked"
        await hide(page, hidden=False)
        await expect(where).to_have_text("The caller hung up", timeout=4500)


async def test_who_points_at_a_live_call_still_does_when_the_page_is_seen_again(world: World, browser: Browser) -> None:
    call = await world.connected_call(ObedientScript([ANSWER]))
    async with logged_in(browser, world, "/console/") as page:
        link = page.locator(f'#calls tr[data-sid="{call.sid}"] a')
        await link.focus()
        await hide(page)
        await hide(page, hidden=False)
        await asyncio.sleep(2)
        assert await link.evaluate("(node) => node === document.activeElement")
        await call.hang_up()

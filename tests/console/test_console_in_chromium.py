"""The console in a real browser: a call comes and goes, is read in Hebrew, is ended; by keyboard, on a telephone."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from rehearsal.model import ObedientScript
from rehearsal.world import World
from tests.console.browser import PASSWORD
from tests.console.chromium import CONTRAST, NAMELESS, WAIT_MS, logged_in
from tests.line.ending import record
from tests.line.listening import Voiced, noise, say

ANSWER = "השעה שלוש."
PAGES = ("/console/", "/console/calls", "/console/today", "/console/flows", "/console/flows/clinic.yaml")
TELEPHONE: Any = {"width": 375, "height": 667}


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """A console, and a Kav that does not wait for its calls."""
    quiet = {"SILENCE_ASK_S": "60", "SILENCE_CLOSE_S": "90"}  # nobody asks silent callers whether they are there
    async with World({"KAV_CONSOLE_PASSWORD": PASSWORD, "DRAIN_SECONDS": "0", **quiet}) as world:
        yield world
        assert " ERROR " not in world.kav.log(1_000_000)


def row(page: Page, call_sid: str) -> Any:  # noqa: ANN401 - a locator
    return page.locator(f'#calls tr[data-sid="{call_sid}"]')


async def test_a_rehearsed_call_appears_and_ends_by_itself(world: World, browser: Browser) -> None:
    async with logged_in(browser, world, "/console/") as page:
        await expect(page.locator("#connection")).to_have_text("Up to date", timeout=WAIT_MS)
        call = await world.connected_call(Voiced(say(noise(1, 10_000))))
        shown = row(page, call.sid)
        await expect(shown.locator("[data-f=who]")).to_have_text(call.order.from_, timeout=WAIT_MS)
        await expect(shown.locator("[data-f=speaker]")).to_have_text("The bot speaks", timeout=WAIT_MS)
        await expect(shown.locator("[data-f=cost]")).to_contain_text("$", timeout=WAIT_MS)
        first = await shown.locator("[data-f=clock]").inner_text()
        await expect(shown.locator("[data-f=clock]")).not_to_have_text(first, timeout=WAIT_MS)
        await call.hang_up()
        await expect(shown.locator("[data-f=speaker]")).to_have_text("The caller hung up", timeout=WAIT_MS)
        await expect(shown).to_have_count(0, timeout=WAIT_MS)


async def test_its_record_is_read_in_hebrew_from_right_to_left(world: World, browser: Browser) -> None:
    call = await world.connected_call(ObedientScript([ANSWER]))
    await call.until_heard(300)
    await call.hang_up()
    await record(world, call.sid, lambda found: found.call["end_reason"] == "caller_hung_up")
    async with logged_in(browser, world, f"/console/calls/{call.sid}", language="he") as page:
        assert await page.evaluate("getComputedStyle(document.body).direction") == "rtl"
        await expect(page.locator("h1")).to_contain_text("שיחה")
        await expect(page.locator(".turn.bot .words").first).to_contain_text("שלום")
        await expect(page.locator(".heading .tag")).to_have_text("הלקוח ניתק")
        talk, side = page.locator(".talk"), page.locator(".side")
        right, left = await talk.bounding_box(), await side.bounding_box()
        assert right is not None
        assert left is not None
        assert right["x"] > left["x"], "what comes first stands on the right"


async def test_a_calls_page_follows_it_and_ends_it(world: World, browser: Browser) -> None:
    call = await world.connected_call(ObedientScript([ANSWER]))
    async with logged_in(browser, world, f"/console/calls/{call.sid}") as page:
        await expect(page.locator(".turn.bot .words").first).to_contain_text("שלום", timeout=WAIT_MS)
        await page.click("#end-call")
        await expect(page.locator("h1")).to_have_text("End this call?")
        await page.click("#end-call")
        await expect(page.locator(".heading .tag")).to_have_text("Ended by an operator", timeout=WAIT_MS)
        await record(world, call.sid, lambda found: found.call["end_reason"] == "operator")


async def test_a_stranger_sees_nothing_but_the_login(world: World, browser: Browser) -> None:
    context = await browser.new_context(locale="en")
    page = await context.new_page()
    for path in PAGES:
        await page.goto(world.kav.url + path)
        await expect(page.locator("h1")).to_have_text("Log in")
    await page.fill("#password", "not the password")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_have_text("That is not the password.")
    await context.close()


async def test_the_keyboard_alone_is_enough(world: World, browser: Browser) -> None:
    async with logged_in(browser, world, "/console/") as page:
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.className") == "skip"
        await page.keyboard.press("Enter")
        assert await page.evaluate("document.activeElement.id") == "content"
        await page.reload()
        for _ in range(4):  # past the skip link, the name and the first section
            await page.keyboard.press("Tab")
        outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", "one sees where one is"
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/console/calls")


@pytest.mark.parametrize("path", PAGES)
async def test_nothing_is_wider_than_a_telephone(world: World, browser: Browser, path: str) -> None:
    async with logged_in(browser, world, path) as page:
        await page.set_viewport_size(TELEPHONE)
        for language in ("he", "en"):
            await page.goto(f"{world.kav.url}/console/language/{language}?next={path}")
            assert await page.evaluate("document.documentElement.scrollWidth") <= TELEPHONE["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
async def test_everything_has_a_name_and_can_be_read(world: World, browser: Browser, path: str, scheme: Any) -> None:  # noqa: ANN401
    async with logged_in(browser, world, path) as page:
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        assert await page.evaluate(NAMELESS) == []
        assert await page.evaluate(CONTRAST) == [], "WCAG AA asks for 4.5 to 1"
        assert await page.evaluate("document.querySelectorAll('main, h1').length") == 2

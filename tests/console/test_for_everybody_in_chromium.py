"""The pages on which something is done, for everybody: by keyboard alone, with a screen reader, on a telephone.

They are the login, a call that goes on, its end, a call that is over, and the browser phone.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from rehearsal.model import ObedientScript
from rehearsal.world import World
from tests.console.browser import PASSWORD
from tests.console.chromium import CONTRAST, NAMELESS, WAIT_MS, logged_in
from tests.line.ending import record
from tests.line.listening import SPEECH

TELEPHONE: Any = {"width": 375, "height": 667}
MOST_TABS = 60


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """A console."""
    quiet = {"SILENCE_ASK_S": "60", "SILENCE_CLOSE_S": "90"}  # nobody asks silent callers whether they are there
    async with World({"KAV_CONSOLE_PASSWORD": PASSWORD, "DRAIN_SECONDS": "0", **quiet}) as world:
        yield world


async def judged(page: Page) -> None:
    """Everything has a name, can be read in light and dark, and is no wider than a telephone."""
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        assert await page.evaluate(NAMELESS) == []
        assert await page.evaluate(CONTRAST) == [], f"WCAG AA asks for 4.5 to 1, in {scheme}"
    assert await page.evaluate("document.querySelectorAll('main, h1').length") == 2
    await page.set_viewport_size(TELEPHONE)
    assert await page.evaluate("document.documentElement.scrollWidth") <= TELEPHONE["width"]
    await page.set_viewport_size({"width": 1280, "height": 720})


@pytest.mark.parametrize("language", ["he", "en"])
async def test_a_call_is_read_and_ended_by_everybody(world: World, browser: Browser, language: str) -> None:
    call = await world.connected_call(ObedientScript(["השעה שלוש."]))
    await call.say(SPEECH)
    path = f"/console/calls/{call.sid}"
    async with logged_in(browser, world, path, language) as page:
        await page.locator(".turn.caller").first.wait_for()
        await judged(page)
        await page.goto(f"{world.kav.url}{path}/end")
        await judged(page)
        await call.hang_up()
        await record(world, call.sid, lambda found: found.call["end_reason"] == "caller_hung_up")
        await page.goto(world.kav.url + path)
        await page.locator("details.alternative summary").click()
        await judged(page)


@pytest.mark.parametrize("language", ["he", "en"])
async def test_the_phone_is_read_by_everybody(world: World, browser: Browser, language: str) -> None:
    async with logged_in(browser, world, "/console/phone", language) as page:
        await judged(page)


@pytest.mark.parametrize("language", ["he", "en"])
async def test_the_login_is_read_by_everybody(world: World, browser: Browser, language: str) -> None:
    context = await browser.new_context(locale=language)
    page = await context.new_page()
    await page.goto(f"{world.kav.url}/console/login")
    await judged(page)
    await page.fill("#password", "not the password")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_be_visible()
    await judged(page)
    await context.close()


async def tab_to(page: Page, selector: str) -> None:
    """Go on by the Tab key until something is focused, and see where one is on the way."""
    for _ in range(MOST_TABS):
        await page.keyboard.press("Tab")
        if await page.evaluate("(wanted) => document.activeElement.matches(wanted)", selector):
            outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline == "solid", f"one sees that one is at {selector}"
            return
    raise AssertionError(f"the Tab key never comes to {selector}")


async def test_one_logs_in_opens_a_call_and_ends_it_by_keyboard_alone(world: World, browser: Browser) -> None:
    call = await world.connected_call(ObedientScript(["השעה שלוש."]))
    context = await browser.new_context(locale="en")
    page = await context.new_page()
    await page.goto(f"{world.kav.url}/console/")
    await expect(page.locator("#password")).to_be_focused()
    await page.keyboard.type(PASSWORD)
    await expect(page.locator("#password")).to_have_value(PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"{world.kav.url}/console/")
    await page.locator(f'#calls tr[data-sid="{call.sid}"]').wait_for()
    await tab_to(page, f'tr[data-sid="{call.sid}"] a')
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**/console/calls/{call.sid}")
    await page.locator(".turn.bot").first.wait_for()
    await tab_to(page, "#end-call")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/end")
    await tab_to(page, "#end-call")
    await page.keyboard.press("Enter")
    await expect(page.locator(".heading .tag")).to_have_text("Ended by an operator", timeout=WAIT_MS)
    await record(world, call.sid, lambda found: found.call["end_reason"] == "operator")
    await context.close()

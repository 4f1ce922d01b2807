"""The console's login in a real browser: a link from elsewhere, a login that is open in two tabs."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, expect

from rehearsal.world import World
from tests.console.browser import PASSWORD
from tests.console.chromium import logged_in

MAIL = "http://mail.example/"


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """A console."""
    async with World({"KAV_CONSOLE_PASSWORD": PASSWORD, "DRAIN_SECONDS": "0"}) as world:
        yield world


async def test_a_link_from_elsewhere_opens_the_page_and_logs_nobody_out(world: World, browser: Browser) -> None:
    async with logged_in(browser, world, "/console/") as page:
        mail = await page.context.new_page()
        link = f'<a href="{world.kav.url}/console/calls?business=clinic">The call</a>'
        await mail.route(f"{MAIL}**", lambda route: route.fulfill(body=link, content_type="text/html"))
        for path in ("/console/calls?business=clinic", "/console/login"):
            await mail.goto(MAIL)
            await mail.evaluate("(url) => { document.querySelector('a').href = url; }", world.kav.url + path)
            await mail.click("a")
            await expect(mail.locator("h1")).to_have_text("Log in" if path.endswith("login") else "Calls")
        await page.goto(f"{world.kav.url}/console/calls")
        await expect(page.locator("h1")).to_have_text("Calls")


async def test_a_stranger_s_link_leads_to_the_login_and_on_from_there(world: World, browser: Browser) -> None:
    context = await browser.new_context(locale="en")
    page = await context.new_page()
    link = f'<a href="{world.kav.url}/console/today">Today</a>'
    await page.route(f"{MAIL}**", lambda route: route.fulfill(body=link, content_type="text/html"))
    await page.goto(MAIL)
    await page.click("a")
    await page.fill("#password", PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"{world.kav.url}/console/today")
    await context.close()


async def test_a_login_is_open_in_two_tabs_and_both_take_the_password(world: World, browser: Browser) -> None:
    context = await browser.new_context(locale="en")
    tabs = [await context.new_page() for _ in range(2)]
    for tab in tabs:
        await tab.goto(f"{world.kav.url}/console/")
    for tab in tabs:
        await tab.fill("#password", PASSWORD)
        await tab.keyboard.press("Enter")
        await tab.wait_for_url(f"{world.kav.url}/console/")
        await expect(tab.locator("h1")).to_have_text("Live calls")
    await context.close()

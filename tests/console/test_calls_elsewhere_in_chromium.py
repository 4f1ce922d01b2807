"""One call's page behind two processes: it follows its call, and can end it, whichever of them it reaches."""

import os
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, expect

from rehearsal.servers.redis import binary
from tests.console.browser import PASSWORD
from tests.console.chromium import WAIT_MS, logged_in_at
from tests.redis.town import Town

EVENTS = "/console/events"

pytestmark = pytest.mark.skipif(
    binary() is None and os.environ.get("KAV_REQUIRE_ALL") != "1", reason="needs a Redis server"
)


@pytest.fixture(scope="module")
async def town() -> AsyncIterator[Town]:
    """Two Kavs; calls are carried by the second."""
    settings = {"KAV_CONSOLE_PASSWORD": PASSWORD, "KAV_SECRET_KEY": "the same in both of them"}
    async with Town(settings=settings) as town:
        town.go(voice=1, media=1)
        yield town


@pytest.mark.parametrize("events", [0, 1])
async def test_a_page_that_reaches_the_other_process_follows_its_call_and_ends_it(
    town: Town, browser: Browser, events: int
) -> None:
    talk = await town.greeted()
    path = f"/console/calls/{talk.call.sid}"
    town.crossroads.rules |= {path: 0, EVENTS: events, "/console/": 0}
    async with logged_in_at(browser, town.crossroads.url, path) as page:
        await expect(page.locator("#end-call")).to_be_visible(timeout=WAIT_MS)
        await expect(page.locator(".heading .tag")).to_have_text("Going on")
        async with page.expect_response(lambda answer: answer.url.endswith(path), timeout=WAIT_MS):
            pass  # it has looked again
        await expect(page.locator("#end-call")).to_be_visible()
        other = await page.context.new_page()
        await other.goto(f"{town.crossroads.url}{path}/end")
        await other.click("#end-call")
        await expect(page.locator(".heading .tag")).to_have_text("Ended by an operator", timeout=WAIT_MS)

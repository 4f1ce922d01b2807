"""A real browser without a screen: Debian's Chromium, with a microphone that plays a file."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright

from rehearsal.world import World
from tests.console.browser import PASSWORD

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
WAIT_MS = 15_000
EVENTS = "/console/events"


def require_chromium() -> None:
    """Skip where there is no browser; where everything is required, go on and fail."""
    if not CHROMIUM and os.environ.get("KAV_REQUIRE_ALL") != "1":
        pytest.skip("needs Chromium (Debian: apt-get install chromium)")


@asynccontextmanager
async def chromium(microphone: Path | None = None, language: str = "en") -> AsyncIterator[Browser]:
    """A browser whose microphone plays a WAV file once; without one, pages may not use any.

    `language` is that of its own fields, e.g. of a date's.
    """
    require_chromium()
    arguments = ["--autoplay-policy=user-gesture-required"]
    if microphone is not None:
        arguments += [
            "--use-fake-ui-for-media-stream",
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-audio-capture={microphone}%noloop",
        ]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=arguments,
            chromium_sandbox=os.geteuid() != 0,
            env={**os.environ, "LANGUAGE": language},
        )
        yield browser
        await browser.close()


def _is_complaint(said: ConsoleMessage) -> bool:
    """An error that is not a refusal that the page itself asked for, and shows: too many watch, for a moment."""
    full = "status of 503" in said.text and EVENTS in said.location["url"]
    return said.type == "error" and "status of 4" not in said.text and not full


def logged_in(
    browser: Browser, world: World, path: str, language: str = "en"
) -> AbstractAsyncContextManager[Page, bool | None]:
    """A page of the console's, as an operator sees it; it may not complain of anything."""
    return logged_in_at(browser, world.kav.url, path, language)


@asynccontextmanager
async def logged_in_at(browser: Browser, url: str, path: str, language: str = "en") -> AsyncIterator[Page]:
    """The same at any address."""
    context = await browser.new_context(locale=language)
    page = await context.new_page()
    page.set_default_timeout(WAIT_MS)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if _is_complaint(said) else None)
    await page.goto(f"{url}/console/login?next={path}")
    await page.fill("input[name=password]", PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_url(url + path)
    yield page
    await context.close()
    assert complaints == [], complaints


NAMELESS = """() => [...document.querySelectorAll("a, button, input, select, textarea, svg[role=img], nav, section")]
    .filter((node) => !node.closest("[hidden]") && node.type !== "hidden" && !(node.tagName === "SECTION" &&
        !node.hasAttribute("aria-labelledby") && !node.hasAttribute("aria-label")))
    .filter((node) => !(node.labels?.length || node.getAttribute("aria-label") || node.textContent.trim() ||
        document.getElementById((node.getAttribute("aria-labelledby") || "-").split(" ")[0])))
    .map((node) => node.outerHTML.slice(0, 120))"""
"""What has no name that a screen reader could say."""

CONTRAST = """() => {
    const channel = (c) => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
    const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
    const ground = (node) => {
        for (; node; node = node.parentElement) {
            const color = parse(getComputedStyle(node).backgroundColor);
            if (color.length === 3 || color[3] === 1) return color;
        }
        return [255, 255, 255];
    };
    return [...document.querySelectorAll("body *")]
        .filter((node) => !node.closest("svg, [hidden], .visually-hidden, .skip, template") && node.offsetParent &&
            [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim()))
        .map((node) => {
            const [a, b] = [light(parse(getComputedStyle(node).color)), light(ground(node))].sort((x, y) => y - x);
            return [node.outerHTML.slice(0, 100), (a + 0.05) / (b + 0.05)];
        })
        .filter(([, ratio]) => ratio < 4.5);
}"""
"""Texts whose contrast is less than WCAG AA asks for."""

"""What is read off the screens, in a real browser: numbers in line, signs that hide nothing, lanes with names."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import Browser, expect
from sqlalchemy import insert

from kav.records.database import build_engine, parse_url
from kav.records.models import CALLS, STREAMS, TOOL_CALLS, TURNS
from rehearsal.model import ObedientScript
from rehearsal.twilio import NUMBER
from rehearsal.world import World
from tests.console.browser import PASSWORD
from tests.console.chromium import WAIT_MS, logged_in
from tests.line.ending import until_healthy

CLINIC = "+97231110002"
BUSY = "CA" + "b" * 32
"""A call in which much happens at once."""
TELEPHONE: Any = {"width": 375, "height": 667}


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """A console with calls on record whose figures are of different lengths."""
    quiet = {"SILENCE_ASK_S": "60", "SILENCE_CLOSE_S": "90"}  # nobody asks silent callers whether they are there
    async with World({"KAV_CONSOLE_PASSWORD": PASSWORD, "DRAIN_SECONDS": "0", **quiet}) as world:
        await until_healthy(world, lambda figures: not figures["records"]["waiting"])  # its tables are there
        remember(world)
        yield world


def remember(world: World) -> None:
    now = datetime.now(UTC)
    call = {"created_at": now, "updated_at": now, "direction": "inbound", "business": "clinic", "end_reason": "goodbye"}
    figures = ((BUSY, 20, 12_345_600, 12), ("CA" + "c" * 32, 4000, 4400, 0), ("CA" + "d" * 32, 75, 1_000_000, 3))
    calls = [
        {
            **call,
            "call_sid": sid,
            "ended_at": now + timedelta(seconds=s),
            "cost_micro_usd": cost,
            "cost_is_partial": sid == BUSY,
            "barge_ins": barge_ins,
        }
        for sid, s, cost, barge_ins in figures
    ]
    turn = {"call_sid": BUSY, "language": "he", "text": "a b", "heard": "a", "heard_ms": None, "marks": "[500,900]"}
    turns = [
        {**turn, "who": "bot", "kind": "speak", "at_ms": 0, "audio_ms": 9000, "heard_ms": 1000, "latency_ms": 310},
        {**turn, "who": "caller", "kind": "caller", "at_ms": 2000, "audio_ms": 1000, "latency_ms": None},
        {**turn, "who": "bot", "kind": "speak", "at_ms": 2500, "audio_ms": 9000, "heard_ms": 500, "latency_ms": 12_040},
        {**turn, "who": "caller", "kind": "keys", "at_ms": 3000, "audio_ms": 0, "latency_ms": None, "language": "en"},
    ]
    judged = {"call_sid": BUSY, "call_id": "j1", "name": "side_question", "arguments": "{}", "at_ms": 2100}
    engine = build_engine(parse_url(f"sqlite:///{world.kav.database}"), "write")
    with engine.begin() as connection:
        connection.execute(insert(CALLS), calls)
        connection.execute(insert(STREAMS), [{"stream_sid": "MZb", "call_sid": BUSY, "reaction_ms": 4.2}])
        connection.execute(insert(TURNS), [{**turn, "number": place} for place, turn in enumerate(turns, 1)])
        connection.execute(insert(TOOL_CALLS), [judged])
    engine.dispose()


OUT_OF_LINE = """() => [...document.querySelectorAll("table")].flatMap((table) => {
    const ends = new Map();
    for (const cell of table.querySelectorAll("td.amount, th.amount")) {
        const range = document.createRange();
        range.selectNodeContents(cell.querySelector(":has(+ .visually-hidden)") ?? cell);
        const { right, width } = range.getBoundingClientRect();
        if (width > 1) ends.set(cell.cellIndex, [...(ends.get(cell.cellIndex) ?? []), [right, cell.textContent]]);
    }
    return [...ends.values()].filter((found) => found.some(([right]) => Math.abs(right - found[0][0]) > 0.6));
})"""
"""Columns of numbers whose right ends, where the smallest digits stand, do not stand beneath one another.

What is only read out, after what is seen, takes no room.
"""

TOUCHING = """() => [...document.querySelectorAll("td.amount, th.amount")].flatMap((cell) => {
    const box = (node) => { const range = document.createRange();
        range.selectNodeContents(node.querySelector(":has(+ .visually-hidden)") ?? node);
        return range.getBoundingClientRect(); };
    const mine = box(cell);
    return [...cell.parentElement.children].filter((other) => other !== cell && mine.width && box(other).width)
        .filter((other) => mine.left - box(other).right < 8 && box(other).left - mine.right < 8)
        .map((other) => [cell.textContent, other.textContent]);
})"""
"""Numbers that stand closer than 8 pixels to what is beside them."""


@pytest.mark.parametrize("language", ["he", "en"])
@pytest.mark.parametrize(
    "path", ["/console/", "/console/calls", "/console/today", "/console/flows", f"/console/calls/{BUSY}"]
)
async def test_numbers_stand_beneath_one_another_and_apart_from_words(
    world: World, browser: Browser, path: str, language: str
) -> None:
    calls = [await world.connected_call(ObedientScript()) for _ in range(2)] if path == "/console/" else []
    async with logged_in(browser, world, path, language) as page:
        await page.wait_for_selector("td.amount", state="attached")
        await page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
        assert await page.evaluate(OUT_OF_LINE) == []
        assert await page.evaluate(TOUCHING) == []
        assert await page.evaluate("getComputedStyle(document.querySelector('td.amount')).fontVariantNumeric") == (
            "lining-nums tabular-nums"
        )
    for call in calls:
        await call.hang_up()


HIDDEN = """() => [...document.querySelectorAll(".timeline .event")].filter((sign) => {
    sign.scrollIntoView({ block: "center" });
    const { left, top, width, height } = sign.getBoundingClientRect();
    const spots = [[0.5, 0.5], [0.3, 0.5], [0.7, 0.5], [0.5, 0.7]];
    const at = ([x, y]) => document.elementFromPoint(left + width * x, top + height * y);
    return spots.some((spot) => at(spot)?.closest(".event") !== sign);
}).map((sign) => sign.textContent.trim())"""
"""Signs of which something else covers a part."""


async def test_no_sign_of_the_picture_hides_another(world: World, browser: Browser) -> None:
    async with logged_in(browser, world, f"/console/calls/{BUSY}") as page:
        kinds = await page.evaluate(
            "[...document.querySelectorAll('.timeline .event')].map((sign) => sign.classList[1])"
        )
        assert kinds == ["barge_in", "side_question", "keys", "language"], "the first two at one moment"
        assert await page.evaluate(HIDDEN) == []
        legend = await page.locator(".legend").inner_text()
        for told in (
            "Caller speaks",
            "Bot, heard",
            "Bot, never heard",
            "Played up to here",
            "Caller interrupts the bot",
        ):
            assert told in legend


MISNAMED = """() => {
    const names = [...document.querySelectorAll(".lane-names text")];
    const lanes = [...document.querySelectorAll("rect.lane")];
    const frame = document.querySelector(".timeline").getBoundingClientRect();
    return names.length === 5 && lanes.length === 5 ? names.filter((name, place) => {
        const text = name.getBoundingClientRect(), lane = lanes[place].getBoundingClientRect();
        const middle = (text.top + text.bottom) / 2;
        const beside = middle > lane.top && middle < lane.bottom;
        return !beside || text.left < frame.left || text.right > frame.right || !text.width;
    }).map((name) => name.textContent) : ["there are five lanes"];
}"""
"""Names that do not stand whole beside their lane."""


@pytest.mark.parametrize("language", ["he", "en"])
async def test_every_lane_has_its_name_beside_it_however_far_one_scrolls(
    world: World, browser: Browser, language: str
) -> None:
    async with logged_in(browser, world, f"/console/calls/{BUSY}", language) as page:
        assert await page.evaluate(MISNAMED) == []
        await page.set_viewport_size(TELEPHONE)
        await page.evaluate("document.querySelector('.timeline .scroll').scrollLeft = 500")
        assert await page.evaluate("document.querySelector('.timeline .scroll').scrollLeft") > 0
        assert await page.evaluate(MISNAMED) == []
        await page.click("details.alternative summary")
        assert await page.evaluate("document.documentElement.scrollWidth") <= TELEPHONE["width"]


async def test_the_question_of_a_live_call_is_read_in_the_words_of_its_flow(world: World, browser: Browser) -> None:
    async with logged_in(browser, world, "/console/", "he") as page:
        await expect(page.locator("#connection")).to_have_text("מעודכן", timeout=WAIT_MS)
        call = await world.call(ObedientScript(), to=CLINIC)
        row = page.locator(f'#calls tr[data-sid="{call.sid}"]')
        await expect(row.locator("[data-f=step]")).to_have_text("שאלה 1 מתוך 7", timeout=WAIT_MS)
        question = row.locator("[data-f=question]")
        await expect(question).to_have_text("זה ביקור ראשון אצלנו, או שכבר הייתם כאן?")
        await expect(question).to_have_attribute("title", "visitor")
        free = await world.call(ObedientScript(), to=NUMBER)
        await expect(page.locator(f'#calls tr[data-sid="{free.sid}"] [data-f=step]')).to_have_text("שיחה חופשית")
        for one in (call, free):
            await one.until_streaming()
            await one.hang_up()


async def test_what_a_number_means_is_told_to_a_screen_reader(world: World, browser: Browser) -> None:
    async with logged_in(browser, world, "/console/calls") as page:
        header = page.get_by_role("columnheader", name="Interruptions")
        await expect(header).to_have_accessible_description(
            "Interruptions: How often a caller began to speak while the bot spoke; it falls silent at once."
        )

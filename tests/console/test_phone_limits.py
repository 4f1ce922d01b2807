"""A page's call costs what a telephone's does: the same limits hold for it, and each refusal is said in words."""

import asyncio
import shutil
import signal
from pathlib import Path
from typing import get_args

import pytest

from kav.call.admission import Hindrance
from kav.console.phone import MAX_PHONES, STATUSES
from kav.console.texts import load_texts
from rehearsal.kav import ROOT
from rehearsal.world import World
from tests.console.browser import BROWSER, PASSWORD, WAIT_S, Operator, called, open_stream
from tests.line.ending import record, until_healthy

TEXTS = load_texts()
SMALL = "+97231110021"
FLOW = f"""\
id: small
business: קטן
numbers: ["{SMALL}"]
languages: [he]
greeting: שלום.
closing: להתראות.
limits: {{calls: 1}}
"""


def with_settings(**settings: str) -> World:
    return World({"KAV_CONSOLE_PASSWORD": PASSWORD, "DRAIN_SECONDS": "0", **settings})


async def refused(operator: Operator, why: str, *, status: int, flow: str = "default", **named: object) -> None:
    """The page is told why, in either language."""
    for language in TEXTS.languages:
        async with operator.get(f"/console/language/{language}?next=/console/phone"):
            pass
        async with operator.post("/console/phone/calls", flow=flow) as answer:
            told = await answer.json()
        assert (answer.status, told) == (status, {"error": TEXTS.text(language, f"phone.refused.{why}", **named)})


async def test_when_the_day_has_cost_enough_no_page_calls() -> None:
    async with with_settings(DAILY_SPEND_CAP_USD="0.000001") as world, Operator(world.kav.url) as operator:
        page = await called(world, operator)
        await record(world, page.sid, lambda found: bool(found.call.get("cost_micro_usd")))
        page.stream.hang_up()
        await page.over()
        before = len(world.model.sessions)
        await refused(operator, "spent", status=429)
        assert len(world.model.sessions) == before
        assert (await world.kav.health())["calls"] == 0, "what was refused is no call"


async def test_a_process_that_is_late_takes_no_calls_from_pages_until_it_is_in_time_again() -> None:
    async with with_settings(HUB_LAG_SHED_MS="250") as world, Operator(world.kav.url) as operator:
        world.kav.signal(signal.SIGSTOP)
        await asyncio.sleep(3)  # there is nothing to await: this is how long it stands still
        world.kav.signal(signal.SIGCONT)
        await until_healthy(world, lambda figures: figures["late"])
        await refused(operator, "late", status=503)
        await until_healthy(world, lambda figures: not figures["late"])
        page = await called(world, operator)
        page.stream.hang_up()


async def test_beyond_a_flow_s_own_limit_no_page_calls_it_whoever_has_its_place(tmp_path: Path) -> None:
    shutil.copy(ROOT / "flows" / "default.yaml", tmp_path)
    (tmp_path / "small.yaml").write_text(FLOW, encoding="utf-8")
    async with with_settings(KAV_FLOWS=str(tmp_path)) as world, Operator(world.kav.url) as operator:
        first = await called(world, operator, flow="small")
        await refused(operator, "flow_full", status=429, flow="small")
        other = await called(world, operator)
        first.stream.hang_up()
        await first.over()
        caller = await world.call(to=SMALL)
        await caller.until_heard(40)
        await refused(operator, "flow_full", status=429, flow="small")
        await caller.hang_up()
        await caller.until_reported()
        again = await called(world, operator, flow="small")
        for page in (other, again):
            page.stream.hang_up()


async def test_a_process_that_stops_takes_no_calls_from_pages() -> None:
    async with with_settings(DRAIN_SECONDS="20") as world, Operator(world.kav.url) as operator:
        page = await called(world, operator)
        world.kav.signal(signal.SIGTERM)
        await until_healthy(world, lambda figures: figures["draining"])
        await refused(operator, "draining", status=503)
        page.stream.hang_up()
        assert await world.kav.ended(WAIT_S) == 0


async def test_there_is_room_for_so_many_pages_and_for_so_many_calls() -> None:
    async with with_settings(MAX_CALLS=str(MAX_PHONES + 1)) as world, Operator(world.kav.url) as operator:
        world.expect(BROWSER)
        tickets = [await operator.ticket() for _ in range(MAX_PHONES)]
        await refused(operator, "phones", status=429, most=MAX_PHONES)
        stream = await open_stream(operator, tickets.pop())
        stream.hang_up()
        await until_healthy(world, lambda figures: figures["calls"] == MAX_PHONES - 1)
        callers = [await world.call() for _ in range(2)]
        for caller in callers:
            await caller.until_heard(40)
        await refused(operator, "full", status=503)
        for caller in callers:
            await caller.hang_up()


async def test_an_operator_is_no_anonymous_caller() -> None:
    limits = {"BLOCKED_NUMBERS": "anonymous", "CALLS_PER_CALLER_PER_HOUR": "1"}
    async with with_settings(**limits) as world, Operator(world.kav.url) as operator:
        for _ in range(2):
            page = await called(world, operator)
            page.stream.hang_up()


@pytest.mark.parametrize("language", TEXTS.languages)
def test_each_hindrance_has_its_words_and_its_status(language: str) -> None:
    assert set(STATUSES) == set(get_args(Hindrance))
    told = {TEXTS.text(language, f"phone.refused.{why}", most=1) for why in (*get_args(Hindrance), "phones")}
    assert len(told) == len(STATUSES) + 1

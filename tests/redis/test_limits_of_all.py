"""Limits that hold for all processes together: whoever is turned away by one is not taken by the other."""

import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from call_admission import READ_SPENDING_S
from kav.call.admission import Counted
from kav.shared.counts import SharedCounts
from kav.shared.link import Link
from realtime_prompt_builder import load_phrases
from rehearsal.servers.redis import RedisServer
from rehearsal.twilio import NUMBER
from tests.line.test_overload import FLOW, SMALL
from tests.redis.town import WAIT_S, Town

ROOT = Path(__file__).parents[2]
TOO_MANY, BUSY, CLOSED = (load_phrases().text(name, "he") for name in ("too_many_calls", "busy", "closed_for_today"))


@pytest.fixture(scope="module")
async def strict(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    """Two Kavs with low limits, and a business that takes one call at a time."""
    flows = tmp_path_factory.mktemp("flows")
    for flow in (ROOT / "flows").glob("*.yaml"):
        shutil.copy(flow, flows)
    small = FLOW.format(id="small", number=SMALL, limits="limits: {calls: 1}")
    (flows / "small.yaml").write_text(small, encoding="utf-8")
    limits = {"CALLS_PER_CALLER_PER_HOUR": "2", "CALLS_PER_MINUTE": "1"}
    async with Town(settings={"KAV_FLOWS": str(flows), **limits}) as town:
        yield town


async def said_to(town: Town, place: int, caller: str, to: str = NUMBER) -> list[str]:
    """Call one of the Kavs, and return what Twilio's voice says; nothing to whoever is taken."""
    town.go(voice=place, media=1 - place)
    call = await town.world.twilio.call(caller, to)
    await call.until(lambda: bool(call.heard_ms) or call.ended_at is not None, WAIT_S)
    await call.hang_up()
    await call.until_reported(WAIT_S)
    return call.said


async def test_an_hour_s_calls_are_counted_wherever_they_came_in(strict: Town) -> None:
    caller = "+972507777701"
    assert [await said_to(strict, place, caller) for place in (0, 1, 0)] == [[], [], [TOO_MANY]]
    assert await said_to(strict, 1, "+972507777702") == []


async def test_a_business_s_calls_are_counted_wherever_they_are(strict: Town) -> None:
    strict.go(voice=0, media=0)
    first = await strict.world.call(to=SMALL, from_="+972507777703")
    await first.until_heard(40)
    assert await said_to(strict, 1, "+972507777704", SMALL) == [BUSY]
    await first.hang_up()
    await first.until_reported(WAIT_S)
    assert await said_to(strict, 1, "+972507777705", SMALL) == []


async def test_a_minute_s_calls_are_counted_whoever_places_them(strict: Town) -> None:
    order = {"flow": "sales", "variables": {"name": "דנה"}, "anytime": True}
    placed, answer = await strict.kavs[0].ask("POST", "/calls", order | {"to": "+972501999101"})
    assert placed == 201, answer
    refused, answer = await strict.kavs[1].ask("POST", "/calls", order | {"to": "+972501999102"})
    assert (refused, answer["error"]["code"]) == (429, "rate_limited")


async def test_what_one_process_has_spent_closes_the_day_for_all() -> None:
    async with Town(settings={"DAILY_SPEND_CAP_USD": "0.000001", "CALLS_PER_CALLER_PER_HOUR": "0"}) as town:
        town.go(voice=0, media=0)
        talk = await town.greeted()
        await talk.call.hang_up()
        await town.row(talk.call, lambda row: bool(row.get("cost_micro_usd")))
        assert await said_to(town, 0, "+972507777706") == [CLOSED], "who has spent it knows it at once"
        deadline = time.monotonic() + READ_SPENDING_S + WAIT_S
        while (said := await said_to(town, 1, "+972507777707")) == []:
            assert time.monotonic() < deadline, "the other one never learns of it"
        assert said == [CLOSED]


def test_the_window_lets_in_as_many_as_it_may_and_says_when_the_next_one_may_come(redis_server: RedisServer) -> None:
    link = Link(redis_server.url)
    link.client.flushall()
    counts = SharedCounts(link)
    assert [counts.place(ticket, 2) for ticket in ("a", "b", "a")] == [0, 0, 0], "one order is counted once"
    wait_s = counts.place("c", 2)
    assert wait_s is not None
    assert 50 < wait_s <= 60
    assert counts.count("CA1", "+972500000001", "") == Counted(0, 0)
    assert counts.count("CA1", "+972500000001", "") == Counted(0, 0), "a webhook that Twilio repeats"
    assert counts.count("CA2", "+972500000001", "") == Counted(1, 0)
    assert counts.count("CA3", "", "") == Counted(0, 0)
    assert link.client.ttl("kav:caller:+972500000001") in range(1, 3601)
    link.close()

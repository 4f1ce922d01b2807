"""Limits that hold for all processes together: whoever is turned away by one is not taken by the other."""

import asyncio
import json
import shutil
import threading
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest

from call_admission import READ_SPENDING_S
from kav.call.admission import Counted, Limits, Newcomer
from kav.shared import scripts
from kav.shared.counts import SharedCounts
from kav.shared.link import Link
from realtime_prompt_builder import load_phrases
from rehearsal.servers.redis import RedisServer
from rehearsal.twilio import NUMBER, Call
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
    await answered(call)
    await call.hang_up()
    await call.until_reported(WAIT_S)
    return call.said


async def answered(call: Call) -> None:
    """The bot was heard, or Twilio's voice has said why not."""
    await call.until(lambda: bool(call.heard_ms) or call.ended_at is not None, WAIT_S)


async def test_an_hour_s_calls_are_counted_wherever_they_came_in(strict: Town) -> None:
    async def attempt(number: int) -> list[list[str]]:
        return [await said_to(strict, place, f"+97250777761{number}") for place in (0, 1, 0)]

    assert await strict.undisturbed(attempt) == [[], [], [TOO_MANY]]
    assert await said_to(strict, 1, "+972507777702") == []


async def test_a_business_s_calls_are_counted_wherever_they_are(strict: Town) -> None:
    async def attempt(number: int) -> list[list[str]]:
        strict.go(voice=0, media=0)
        first = await strict.world.call(to=SMALL, from_=f"+97250777730{number}")
        await first.until_heard(40)
        second = await said_to(strict, 1, f"+97250777740{number}", SMALL)
        await first.hang_up()
        await first.until_reported(WAIT_S)
        return [second, await said_to(strict, 1, f"+97250777750{number}", SMALL)]

    assert await strict.undisturbed(attempt) == [[BUSY], []]


async def test_a_business_s_last_place_is_given_to_one_of_two_who_call_at_once(strict: Town) -> None:
    async def attempt(pair: int, number: int) -> list[list[str]]:
        calls = await asyncio.gather(
            *(strict.world.call(to=SMALL, from_=f"+972507{pair}78{number}0{one}") for one in range(2))
        )
        for call in calls:
            await answered(call)
        said = sorted(call.said for call in calls)
        for call in calls:
            await call.hang_up()
            await call.until_reported(WAIT_S)
        return said

    strict.go()
    for pair in range(6):
        assert await strict.undisturbed(partial(attempt, pair)) == [[], [BUSY]]


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
    link.close()


CALLER = "+972500000001"


@pytest.fixture
def link(redis_server: RedisServer) -> Iterator[Link]:
    link = Link(redis_server.url)
    link.client.flushall()
    yield link
    link.close()


def limits(*, business_calls: int = 0, caller_calls: int = 0) -> Limits:
    return Limits(calls=100, business_calls=business_calls, caller_calls=caller_calls, spend_micro_usd=0)


def comes(link: Link, call: str, *, number: str = "", business: str = "") -> Newcomer:
    """A call that is registered, and not let in yet."""
    fields = {"business": json.dumps(business), "end": "null", "owner": '"a"', "call": "{}"}
    pairs = [part for pair in fields.items() for part in pair]
    link.script(scripts.MERGE, scripts.keys_of(call), ["a", call, "new", 100, 0, len(fields), *pairs])
    return Newcomer(call, number, business)


def test_a_caller_s_hour_counts_whom_it_let_in_and_nobody_twice(link: Link) -> None:
    counts, twice = SharedCounts(link), limits(caller_calls=2)
    first, second, third = (comes(link, call, number=CALLER) for call in ("CA1", "CA2", "CA3"))
    assert counts.admit(first, twice) == Counted(0, 0)
    assert counts.admit(first, twice) == Counted(0, 0), "a webhook that Twilio repeats"
    assert counts.admit(second, twice) == Counted(1, 0)
    assert [counts.admit(third, twice) for _ in range(2)] == [Counted(2, 0)] * 2
    assert counts.admit(comes(link, "CA4"), twice) == Counted(0, 0), "whoever withholds their number is not counted"
    counts.withdraw(second)
    assert counts.admit(third, twice) == Counted(1, 0), "a place that was given back"
    assert link.client.ttl(f"kav:caller:{CALLER}") in range(1, 3601)


def test_a_large_limit_is_one_too(link: Link) -> None:
    counts = SharedCounts(link)
    assert [counts.place(f"t{n}", 1200) for n in range(1200)] == [0] * 1200
    assert counts.place("one more", 1200)
    link.client.zadd(f"kav:caller:{CALLER}", {f"CA{n}": time.time() for n in range(1200)})
    found = counts.admit(comes(link, "CA-last", number=CALLER), limits(caller_calls=1200))
    assert found == Counted(1200, 0)


def test_a_business_s_calls_are_those_that_were_let_in_and_go_on(link: Link) -> None:
    counts, one = SharedCounts(link), limits(business_calls=1)
    first, second, other = (
        comes(link, call, business=name) for call, name in (("CA1", "small"), ("CA2", "small"), ("CA3", "other"))
    )
    assert counts.admit(first, one) == Counted(0, 0), "whoever only waits at the door takes no place"
    assert counts.admit(second, one) == Counted(0, 1)
    assert counts.admit(other, one) == Counted(0, 0)
    link.client.hset(scripts.call_key("CA1"), "end", '["silence", "hang_up", 1.0]')
    assert counts.admit(second, one) == Counted(0, 0)


def test_of_many_who_come_at_once_as_many_are_let_in_as_there_are_places(link: Link, redis_server: RedisServer) -> None:
    newcomers = [comes(link, f"CA{n}", number=CALLER, business="small") for n in range(12)]
    begin, let_in = threading.Barrier(len(newcomers)), []

    def rival(newcomer: Newcomer) -> None:
        own = Link(redis_server.url)
        begin.wait(5)
        found = SharedCounts(own).admit(newcomer, limits(business_calls=3, caller_calls=5))
        if found is not None and found.business_calls < 3 and found.caller_calls < 5:
            let_in.append(newcomer)
        own.close()

    rivals = [threading.Thread(target=rival, args=(each,)) for each in newcomers]
    for each in rivals:
        each.start()
    for each in rivals:
        each.join(10)
    assert len(let_in) == 3


def test_a_call_that_redis_does_not_know_leaves_nothing_there_for_ever(link: Link) -> None:
    both = limits(business_calls=1, caller_calls=1)
    assert SharedCounts(link).admit(Newcomer("CA1", CALLER, "small"), both) == Counted(0, 0)
    assert link.client.keys() == [f"kav:caller:{CALLER}"]
    SharedCounts(link).withdraw(Newcomer("CA1", CALLER, "small"))
    assert link.client.keys() == []

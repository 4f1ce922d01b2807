"""Redis is there and refuses: the request fails alone, the log says so once with what to do, and nobody is cut off."""

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from kav.call.admission import Limits, Newcomer
from kav.shared.counts import SharedCounts
from kav.shared.link import BYTES_AT_ONCE, MAX_CONNECTIONS, MOST_AT_ONCE, AwayError, Link, RefusedError, UnansweredError
from rehearsal.kav import KavProcess
from rehearsal.servers.redis import RedisServer
from tests.line.ending import fin
from tests.redis.test_redis_dies import AWAY, said_once, until_noticed
from tests.redis.town import WAIT_S, Town, until

REFUSES = "Redis refuses a request"
CALLER = "+972507770001"
LONGER_THAN_A_PROBE_S = 4.0
SLOW = ("(TimeoutError)", "(AwayError)")
"""What Redis is lost for when nothing comes from it in time."""


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    async with Town() as town:
        yield town


def outages(kav: KavProcess) -> list[str]:
    """What a Kav has said of Redis being lost, but for a server that stood still for half a second."""
    said = [line for line in kav.log(1_000_000).splitlines() if AWAY in line]
    return [line for line in said if not any(slow in line for slow in SLOW)]


@pytest.fixture
def link(redis_server: RedisServer) -> Iterator[Link]:
    link = Link(redis_server.url)
    link.probe()
    link.client.flushall()
    yield link
    link.close()


def test_a_key_of_somebody_else_s_is_no_outage(link: Link, caplog: pytest.LogCaptureFixture) -> None:
    link.client.set(f"kav:caller:{CALLER}", "not a sorted set")
    counts, newcomer = SharedCounts(link), Newcomer("CA1", CALLER, "")
    limits = Limits(calls=9, business_calls=0, caller_calls=2, spend_micro_usd=0)
    with caplog.at_level(logging.ERROR):
        assert [counts.admit(newcomer, limits) for _ in range(3)] == [None] * 3, "nobody knows how many"
    assert not link.away
    assert counts.place("t", 1) == 0, "all else is counted"
    (said,) = (record.getMessage() for record in caplog.records)
    assert "WRONGTYPE" in said
    assert "of its own" in said, "what to do"
    assert CALLER not in said


SET: str = "return redis.call('HSET', KEYS[1], 'field', ARGV[1])"


def test_of_many_that_go_together_one_that_is_refused_fails_alone(link: Link) -> None:
    link.client.set("kav:call:1", "not a hash")
    asked = [([f"kav:call:{n}"], [str(n)]) for n in range(2 * MOST_AT_ONCE)]
    answers = link.scripts(SET, asked)
    assert [type(answer) for answer in answers] == [int, RefusedError, *[int] * (len(asked) - 2)]
    assert [link.client.hget(f"kav:call:{n}", "field") for n in (0, 2, len(asked) - 1)] == [
        "0",
        "2",
        str(len(asked) - 1),
    ]
    assert not link.away


def test_what_is_too_long_for_company_goes_alone_and_arrives(link: Link) -> None:
    values = ["x" * size for size in (BYTES_AT_ONCE, 1, 2 * BYTES_AT_ONCE, 2)]
    assert link.scripts(SET, [([f"kav:call:{n}"], [value]) for n, value in enumerate(values)]) == [1] * 4
    assert [link.client.hget(f"kav:call:{n}", "field") for n in range(4)] == values


def test_many_that_go_together_find_a_replica_away_as_one_does(link: Link) -> None:
    link.client.replicaof("127.0.0.1", "1")
    try:
        with pytest.raises(AwayError):
            link.scripts(SET, [(["kav:call:1"], ["1"])])
        assert link.away
    finally:
        link.client.replicaof("NO", "ONE")


def test_a_request_too_many_waits_and_fails_and_is_no_outage(link: Link) -> None:
    def ask_within(asking: int) -> bool:
        return link.ask(lambda: ask_within(asking - 1) if asking else True)

    assert ask_within(MAX_CONNECTIONS - 1)
    with pytest.raises(RefusedError):
        ask_within(MAX_CONNECTIONS)
    assert not link.away
    assert ask_within(MAX_CONNECTIONS - 1), "what was taken is given back"


def test_who_waited_for_a_connection_while_redis_was_lost_says_so_and_calls_it_no_refusal(
    link: Link, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    link.probe()
    redis_server.signal(signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(3 * MAX_CONNECTIONS) as asking:
            answers = list(asking.map(asked, [link] * 3 * MAX_CONNECTIONS))
    finally:
        redis_server.signal(signal.SIGCONT)
    assert {type(answer) for answer in answers} == {AwayError}
    assert link.away
    assert REFUSES not in caplog.text


def asked(link: Link) -> UnansweredError | None:
    """What a request comes to."""
    try:
        link.ask(link.client.time)
    except UnansweredError as error:
        return error
    return None


def test_a_server_that_was_made_a_replica_is_away_until_it_takes_changes_again(link: Link) -> None:
    link.client.replicaof("127.0.0.1", "1")
    with pytest.raises(AwayError):
        link.ask(lambda: link.client.set("kav:any", "1"))
    assert [link.probe() for _ in range(2)] == [False, False], "it can be read, which is not enough"
    assert link.away
    redis.Redis.from_url(f"redis://127.0.0.1:{link.client.connection_pool.connection_kwargs['port']}").replicaof(
        "NO", "ONE"
    )
    assert link.probe()
    assert link.ask(lambda: link.client.set("kav:any", "1"))


async def test_one_bad_key_does_not_take_redis_away_from_a_process(town: Town) -> None:
    redis.Redis.from_url(town.redis.url).set(f"kav:caller:{CALLER}", "not a sorted set")
    town.go(voice=0, media=1, status=0, after_stream=0)
    call = await town.world.call(from_=CALLER)
    await call.until_heard(40)
    await call.hang_up()
    await call.until_reported(WAIT_S)
    assert [outages(kav) for kav in town.kavs] == [[], []]
    assert town.kavs[0].log(1_000_000).count(REFUSES) == 1


async def test_calls_go_on_with_a_redis_that_is_full_and_nothing_is_switched_on_and_off(town: Town) -> None:
    town.go(voice=0, media=1, status=0, after_stream=0)
    shared = await town.greeted()
    full = redis.Redis.from_url(town.redis.url)
    full.config_set("maxmemory", "1")
    town.go(voice=0, media=0, status=0, after_stream=0)
    alone = await town.greeted()
    await asyncio.sleep(LONGER_THAN_A_PROBE_S)  # nothing may happen meanwhile
    for kav in town.kavs:
        assert (outages(kav), kav.log(1_000_000).count(REFUSES)) == ([], 1)
    for talk in (shared, alone):
        since = time.monotonic()
        await talk.call.hang_up()
        await fin(talk.session.peer, since)
        await talk.call.until_reported(WAIT_S)
    row = await town.row(alone.call, lambda row: None not in (row.get("end_reason"), row.get("terminal_status")))
    assert row["status"] == "completed", "what is to be done after a call is done"
    full.config_set("maxmemory", "0")
    town.go(voice=0, media=1, status=0, after_stream=0)
    again = await town.greeted()
    await again.call.hang_up()
    await until(lambda: town.log_lines(again.call, "stream over") == [1])


async def test_a_fail_over_is_an_outage_that_is_said_once(town: Town) -> None:
    town.go(voice=0, media=0, status=0, after_stream=0)
    server = redis.Redis.from_url(town.redis.url)
    server.replicaof("127.0.0.1", "1")
    await until_noticed(town, away=True)
    talk = await town.greeted()
    await asyncio.sleep(LONGER_THAN_A_PROBE_S)  # nothing may happen meanwhile
    server.replicaof("NO", "ONE")
    await until_noticed(town, away=False)
    for kav in town.kavs:
        said_once(kav)
    await talk.call.hang_up()
    await talk.call.until_reported(WAIT_S)

"""Redis dies and comes back: calls go on, ends close where they happen, everybody can see it, and all is well again."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator

import pytest

from kav.settings import Settings
from rehearsal.kav import KavProcess
from tests.line.ending import fin
from tests.line.listening import SPEECH, Talk
from tests.line.test_conversation import orders
from tests.redis.test_wandering_calls import ANSWERS, SECOND, heard
from tests.redis.town import LOST, WAIT_S, Town, until

DEFAULT_PATIENCE_S = Settings.model_fields["HANGUP_FALLBACK_S"].default
AWAY, BACK = LOST, "Redis is back"


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    async with Town() as town:
        yield town


@pytest.fixture
async def patient() -> AsyncIterator[Town]:
    """With the patience that is the default before the process that carried a stream takes its call for over."""
    async with Town(settings={"HANGUP_FALLBACK_S": str(DEFAULT_PATIENCE_S)}) as town:
        yield town


async def until_noticed(town: Town, *, away: bool) -> None:
    for place in (0, 1):
        await town.until_healthy(place, lambda found: ("degraded" in found) == away)


def said_once(kav: KavProcess) -> None:
    """An outage is said once, and its end; the server standing still for half a second may be one more."""
    away, back = (kav.log(1_000_000).count(said) for said in (AWAY, BACK))
    assert (away == back, away in (1, 2)) == (True, True), (away, back)


async def test_calls_go_on_and_end_without_redis_and_are_shared_again_when_it_is_back(town: Town) -> None:
    town.go(voice=0, media=1, status=0)
    talk, short = await asyncio.gather(town.greeted(ANSWERS), town.greeted())

    town.redis.stop()
    await talk.call.say(SPEECH)
    await heard(talk, 2)
    assert SECOND in orders(talk)[-1], "the script goes on"
    since = time.monotonic()
    await short.call.hang_up()
    for peer in (short.call.socket, short.session.peer):
        await fin(peer, since, framed=peer is short.session.peer)
    await until_noticed(town, away=True)

    town.go(voice=1, media=1, status=1, after_stream=1)
    alone = await town.greeted()
    await alone.call.hang_up()
    row = await town.row(alone.call, lambda row: row.get("end_reason") is not None and row["status"] is not None)
    assert row["status"] == "completed"

    town.redis.start()
    await until_noticed(town, away=False)
    for kav in town.kavs:
        said_once(kav)
    await town.until_healthy(0, lambda found: found["shared"]["redis"] == "connected")
    town.go(voice=0, media=1, status=0)
    since = time.monotonic()
    while talk.call.socket.eof_at is None and time.monotonic() - since < WAIT_S:  # it is told again within a second
        await talk.call.post_status("completed")
        await asyncio.sleep(0.1)
    await fin(talk.session.peer, since, WAIT_S)
    row = await town.row(talk.call, lambda row: row.get("end_reason") is not None)
    assert row["end_reason"] == "call_status_completed"


async def test_a_stream_that_comes_where_nobody_knows_the_call_is_refused_and_the_call_ends(town: Town) -> None:
    town.redis.stop()
    town.go(voice=0, media=1, after_stream=1, status=0)
    call = await town.world.call()
    await call.until_ended(WAIT_S)
    assert call.verbs == ["Connect", "Say", "Hangup"], "words, for the line is live"
    await until(lambda: town.log_lines(call, "stream refused") == [1])
    assert town.world.sessions_of(call) == [], "no model was paid for"


@pytest.mark.parametrize("comes_back_empty", [False, True])
async def test_a_socket_that_is_lost_while_redis_is_away_for_a_moment_costs_nobody_their_call(
    patient: Town, *, comes_back_empty: bool
) -> None:
    town = patient
    town.go(voice=0, media=1, after_stream=0, status=0)
    talk = await town.greeted(ANSWERS)
    await talk.call.say(SPEECH)
    await heard(talk, 2)
    if comes_back_empty:
        town.redis.stop()
    else:
        town.redis.signal(signal.SIGSTOP)
    await asyncio.sleep(0.3)  # as long as a stall has lasted when the socket is lost
    talk.call.drop("no_stop")
    await asyncio.sleep(0.7)  # and goes on after that
    if comes_back_empty:
        town.redis.start()
    else:
        town.redis.signal(signal.SIGCONT)
    await talk.call.until_streaming(WAIT_S, streams=2)
    second = await town.world.session_of(talk.call, 2)
    await second.wait_for("response.create")
    (order,) = orders(Talk(talk.call, second))
    assert SECOND in order, "the same step"
    assert talk.call.verbs == ["Connect", "Connect"]
    await talk.call.hang_up()
    await talk.call.until_reported(WAIT_S)


async def test_a_redis_that_hangs_holds_one_webhook_up_and_no_call(town: Town) -> None:
    town.go(voice=0, media=0, status=0, after_stream=0)
    talk = await town.greeted(ANSWERS)
    town.redis.signal(signal.SIGSTOP)
    try:
        await talk.call.say(SPEECH)
        await heard(talk, 2)
        await town.until_healthy(0, lambda found: "degraded" in found)
        since = time.monotonic()
        await talk.call.hang_up()
        await fin(talk.session.peer, since)
        for _ in range(2):
            since = time.monotonic()
            later = await town.world.call()
            await later.until_streaming()
            await later.hang_up()
            assert time.monotonic() - since < 3, "nobody waits for it again"
    finally:
        town.redis.signal(signal.SIGCONT)
    await town.until_healthy(0, lambda found: "degraded" not in found)

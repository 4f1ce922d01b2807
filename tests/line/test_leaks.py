"""Two hundred calls that end in ten different ways leave nothing behind: counted by Kav and by both stand-ins."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from rehearsal.model import NEVER, Faults
from rehearsal.model.mulaw import hum
from rehearsal.twilio import CallScript, Line
from rehearsal.world import World
from tests.line.ending import Talk, read, talking, until_healthy

CALLS, AT_A_TIME = 200, 24
SETTLED_WITHIN_S = 15.0
COUNTED = ("calls", "streams", "sockets", "models", "entries", "greenlets", "threads", "descriptors")
PATIENCE_S = 20.0
"""What counts here is what is left, however long a busy machine takes."""
CONNECTING = Faults(upgrade_after_s=NEVER)


async def goes_on(talk: Talk) -> None:
    """Wait until Kav has taken the fresh stream: an end before that would meet a stream that is none yet.

    Or until the call is over: a machine that stands still for long loses the stream twice before anybody asks it to.
    """

    def taken() -> bool:
        sessions = talk.world.sessions_of(talk.call)
        return len(sessions) > 1 and sessions[1].journal.counts["response.create"] > 0

    await talk.call.until(lambda: taken() or talk.call.ended_at is not None, PATIENCE_S)


async def hang_up(talk: Talk) -> None:
    await talk.call.hang_up()


async def status_while_frozen(talk: Talk) -> None:
    talk.call.freeze_media()
    await talk.call.post_status("failed")


async def status_while_mute(talk: Talk) -> None:
    talk.session.stall(reading=False)
    await talk.call.post_status("completed")


async def lost_by_fin(talk: Talk) -> None:
    talk.call.drop("fin", call_goes_on=False)


async def lost_by_reset(talk: Talk) -> None:
    talk.call.drop("reset", call_goes_on=False)


async def lost_twice(talk: Talk) -> None:
    talk.call.drop("no_stop")
    await goes_on(talk)
    talk.call.drop("reset")


async def vanished(talk: Talk) -> None:
    talk.call.drop("vanish")
    await goes_on(talk)
    await talk.call.hang_up()


async def model_dropped(talk: Talk) -> None:
    talk.session.drop()


async def model_reset(talk: Talk) -> None:
    talk.session.reset()


async def never_answered(talk: Talk) -> None:
    talk.call.drop("never_answers_close")
    talk.session.peer.answers_close = False
    await talk.call.post_status("busy")


Way = Callable[[Talk], Awaitable[None]]
WAYS: tuple[Way, ...] = (
    hang_up,
    status_while_frozen,
    status_while_mute,
    lost_by_fin,
    lost_by_reset,
    lost_twice,
    vanished,
    model_dropped,
    model_reset,
    never_answered,
)


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """Short sentences and little patience, so that many calls fit into little time."""
    settings = {"ENTRY_TTL_S": "1", "MEDIA_SILENCE_S": "3", "HANGUP_FALLBACK_S": "2", "DRAIN_SECONDS": "0"}
    settings |= {"MODEL_RECONNECTS": "0", "MODEL_REST_S": "0"}  # a model that is lost ends its call, and no other
    async with World(settings, speak=lambda text, language: hum(text[:4], language)) as world:
        yield world
        assert world.model.violations == []


async def left(world: World) -> dict[str, int]:
    """What is there now, as Kav counts it and as the stand-ins do."""
    figures = await world.kav.health()
    streams = [stream for call in world.twilio.calls for stream in (*call.streams, *call.intruders)]
    return {name: figures[name] for name in COUNTED} | {
        "model sessions": world.model.open_sessions,
        "model upgrades": world.model.open_connections
        - sum(each.peer.closed_at is None for each in world.model.sessions),
        "media sockets without FIN": sum(
            each.peer.eof_at is each.peer.reset_at is each.peer.closed_at for each in streams
        ),
    }


def leaked(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """What there is more of than before; of threads there may be fewer, for an idle pool shrinks."""
    return {name: after[name] - before[name] for name in before if after[name] > before[name]}


async def settled(world: World, before: dict[str, int]) -> dict[str, int]:
    """Wait until nothing is left; return what is there then, or what never went."""
    deadline = time.monotonic() + SETTLED_WITHIN_S
    while leaked(before, now := await left(world)) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    return now


async def ended(world: World, way: Way) -> Talk:
    """A call that began, ended that way, and was reported."""
    talk = await talking(world)
    await way(talk)
    await talk.call.until_reported(30)
    return talk


@pytest.fixture(scope="module")
async def before(world: World) -> dict[str, int]:
    """What stays for good after the first calls: the pool that looks names up, the REST client's connection."""
    await asyncio.gather(*(ended(world, way) for way in WAYS))
    deadline = time.monotonic() + SETTLED_WITHIN_S
    while (now := await left(world))["entries"] + now["models"] + now["sockets"] > 0:
        assert time.monotonic() < deadline, now
        await asyncio.sleep(0.1)
    return now


def show(capsys: pytest.CaptureFixture[str], what: str, before: dict[str, int], after: dict[str, int]) -> None:
    """Print the figures, whatever is captured: they are what this module is for."""
    lines = (f"  {name}: {before[name]} before, {after[name]} after" for name in before)
    with capsys.disabled():
        print("", what, *lines, sep="\n")  # noqa: T201 - see above


@pytest.mark.timeout(180)
async def test_two_hundred_calls_ended_in_ten_ways_leave_nothing(
    world: World, before: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    gate = asyncio.Semaphore(AT_A_TIME)

    async def one(way: Way) -> Talk:
        async with gate:
            return await ended(world, way)

    talks = await asyncio.gather(*(one(WAYS[number % len(WAYS)]) for number in range(CALLS)))
    after = await settled(world, before)
    await until_healthy(world, lambda figures: not figures["records"]["waiting"])
    reasons = Counter(reason for talk in talks for reason in read(world, talk.call.sid).reasons)
    show(capsys, f"{CALLS} calls ended in {len(WAYS)} ways: {dict(reasons)}", before, after)
    assert leaked(before, after) == {}
    streams = sum(len(talk.call.streams) for talk in talks)
    assert streams > CALLS, "a call that lost one and went on had two"
    assert sum(reasons.values()) == streams, "one record a stream"


async def test_a_caller_who_hangs_up_while_the_model_is_still_connecting_leaves_nothing(
    world: World, before: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    async def one(number: int) -> None:
        line = CallScript(line=Line(connect_after_s=30 if number % 2 else 0))
        call = await world.call(line=line, faults=[CONNECTING])
        await call.until(lambda: world.upgrades_of(call) == 1)
        if number % 2 == 0:
            await call.until_streaming()
        await call.hang_up()
        await call.until_reported()

    await asyncio.gather(*(one(number) for number in range(20)))
    after = await settled(world, before)
    show(capsys, "20 calls hung up while the model was connecting", before, after)
    assert leaked(before, after) == {}

"""Whatever ends a call closes both sockets at once, properly, and is written down once with its reason."""

import asyncio
import time
from collections.abc import Callable

import pytest

from rehearsal.model import ModelSession
from rehearsal.world import World
from stream_registry import TERMINAL_STATUSES
from tests.line.conftest import MEDIA_SILENCE_S
from tests.line.ending import AT_ONCE_S, Talk, fin, talking

MAX_CALL_S = 5.0


async def end_by_status(talk: Talk, status: str = "completed") -> float:
    """Report a terminal status; returns when the report left."""
    since = time.monotonic()
    await talk.call.post_status(status)
    return since


async def assert_ended_once(talk: Talk, reason: str) -> None:
    record = await talk.record()
    assert record.call["end_reason"] == reason
    assert record.reasons == [reason]
    assert talk.finalisations() == 1


def freeze_line(talk: Talk) -> None:
    talk.call.freeze_media()


def mute_model(talk: Talk) -> None:
    talk.session.stall(reading=False)


def freeze_all(talk: Talk) -> None:
    freeze_line(talk)
    mute_model(talk)


# Trigger 1.1: a terminal status, through the signed webhook


@pytest.mark.parametrize("trouble", [None, freeze_line, mute_model, freeze_all])
async def test_each_terminal_status_ends_the_call_whatever_flows(
    world: World, trouble: Callable[[Talk], None] | None
) -> None:
    hears = trouble not in (mute_model, freeze_all)  # a model that does not read sees no close frame, only the FIN

    async def one(status: str) -> None:
        talk = await talking(world)
        if trouble is not None:
            trouble(talk)
        await talk.closed(await end_by_status(talk, status), model=hears)
        await assert_ended_once(talk, f"call_status_{status}")

    await asyncio.gather(*map(one, sorted(TERMINAL_STATUSES)))


async def test_no_reset_destroys_a_close_frame_that_meets_audio_on_its_way(world: World) -> None:
    talks = await asyncio.gather(*(talking(world) for _ in range(8)))
    for talk in talks:
        await talk.closed(await end_by_status(talk))
    assert [peer.reset_at for talk in talks for peer in (talk.call.socket, talk.session.peer)] == [None] * 16


async def test_peers_that_never_answer_a_close_hold_nothing_up(world: World) -> None:
    talk = await talking(world)
    talk.call.drop("never_answers_close")
    talk.session.peer.answers_close = False
    since = await end_by_status(talk)
    await talk.closed(since)
    await assert_ended_once(talk, "call_status_completed")


async def test_the_flag_that_the_webhook_sets_is_the_one_that_the_loop_reads(world: World) -> None:
    """A registry whose `get` gave a copy would never close this: nothing moves on either socket but the webhook."""
    talk = await talking(world)
    freeze_all(talk)
    since = await end_by_status(talk)
    await fin(talk.call.socket, since)
    await fin(talk.session.peer, since, framed=False)
    await assert_ended_once(talk, "call_status_completed")


# Trigger 1.5: the caller hangs up, or the socket dies


async def test_stop_is_a_caller_who_hung_up(world: World) -> None:
    talk = await talking(world)
    talk.call.send_raw(talk.call.stream.frames.stop().decode())
    since = time.monotonic()
    await fin(talk.session.peer, since)
    await fin(talk.call.socket, since)
    await assert_ended_once(talk, "caller_hung_up")


async def test_a_caller_who_hangs_up_closes_both_sockets(world: World) -> None:
    talk = await talking(world)
    since = time.monotonic()
    await talk.call.hang_up()
    await talk.closed(since)
    assert (await talk.record()).call["end_reason"] in ("caller_hung_up", "call_status_completed")
    assert talk.finalisations() == 1


@pytest.mark.parametrize("kind", ["no_stop", "fin", "reset"])
async def test_a_socket_that_dies_with_its_call_frees_the_model(world: World, kind: str) -> None:
    talk = await talking(world)
    since = time.monotonic()
    talk.call.drop(kind, call_goes_on=False)
    await fin(talk.session.peer, since)
    await talk.call.until_reported()
    record = await talk.record()
    assert record.call["end_reason"] == "call_status_completed"
    assert record.reasons[0] in ("socket_lost", "call_status_completed")  # whichever news was faster
    assert (len(record.reasons), talk.finalisations()) == (1, 1)


async def test_a_line_that_vanishes_is_given_up_within_the_media_silence(world: World) -> None:
    talk = await talking(world)
    since = time.monotonic()
    talk.call.drop("vanish")
    await talk.closed(since, within_s=MEDIA_SILENCE_S + AT_ONCE_S, twilio=False)
    await talk.call.until_streaming(streams=2)
    await talk.call.hang_up()
    assert (await talk.record()).reasons[0] == "no_media"


# The model goes


def model_fin(session: ModelSession) -> None:
    session.drop()


def model_reset(session: ModelSession) -> None:
    session.reset()


def model_close(session: ModelSession) -> None:
    session.close()


@pytest.mark.parametrize("goes", [model_fin, model_reset, model_close])
async def test_a_model_that_goes_ends_the_call_with_an_apology(
    world: World, goes: Callable[[ModelSession], None]
) -> None:
    talk = await talking(world)
    since = time.monotonic()
    goes(talk.session)
    await fin(talk.call.socket, since)
    if goes is not model_reset:
        await fin(talk.session.peer, since, framed=goes is model_close)
    await talk.call.until(lambda: len(talk.call.said) == 1)
    assert talk.call.said[0].startswith("סליחה")
    await assert_ended_once(talk, "model_failed")


# Trigger 1.6: the hard limit


async def test_the_hard_limit_closes_both_sockets_and_hangs_up() -> None:
    async with World({"MAX_CALL_S": str(MAX_CALL_S)}) as short:
        talks = await asyncio.gather(*(talking(short) for _ in range(3)))
        freeze_all(talks[1])
        for talk in talks:
            started = talk.call.stream.started_at
            assert started is not None
            await talk.closed(started + MAX_CALL_S, model=talk is not talks[1])
            await talk.call.until_ended()
            await assert_ended_once(talk, "max_duration")
            assert talk.call.said == []

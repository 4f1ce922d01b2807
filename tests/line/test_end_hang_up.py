"""Closing the socket is not hanging up: what Kav does after an end, and how long the line outlived it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest

from kav.call.aftermath import FIRST_RETRY_S
from rehearsal.model.mulaw import hum
from rehearsal.twilio import Call, Callbacks, CallScript
from rehearsal.twilio.server import RestRequest
from rehearsal.world import World
from tests.line.ending import Talk, record, talking, until_healthy

FALLBACK_S, STATUS_S, LOOK_S = 1.0, 2.5, 0.5
CLOCKS_AGREE_MS, ATTEMPTS = 500.0, 3
"""Of one call on a busy machine, which may spoil an attempt; test_ghost_clocks.py takes the middle of many."""
DEAF = CallScript(asks_after_stream=False)


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """Patience for Twilio counts in single seconds; an apology lasts longer than the first of them."""
    settings = {"HANGUP_FALLBACK_S": "1", "TERMINAL_STATUS_S": "2.5", "ENTRY_TTL_S": "4", "DRAIN_SECONDS": "0"}
    settings |= {"MODEL_RECONNECTS": "0", "MODEL_REST_S": "0"}  # its models are lost on purpose, one after another
    async with World(settings, speak=lambda text, language: hum(text[:25], language)) as world:
        yield world
        assert world.model.violations == []
        assert [notice for call in world.twilio.calls for notice in call.violations] == []
        assert "Traceback" not in world.kav.log(1_000_000)


def rest(world: World, call: Call, method: str) -> list[RestRequest]:
    return [asked for asked in world.twilio.rest.requests if call.sid in asked.path and asked.method == method]


async def ended_by_kav(world: World, line: CallScript | None = None) -> tuple[Talk, float]:
    """A call that Kav has ended, for its model went; and when Twilio saw that."""
    talk = await talking(world, line=line)
    talk.session.close()
    await talk.call.until_socket_closed()
    closed_at = talk.call.socket.close_frame_at
    assert closed_at is not None
    return talk, closed_at


async def test_a_call_that_asks_nothing_is_hung_up_over_rest_once(world: World) -> None:
    talk, closed_at = await ended_by_kav(world, DEAF)
    await talk.call.until_reported()
    (hang_up,) = rest(world, talk.call, "POST")
    assert FALLBACK_S - 0.1 <= hang_up.at - closed_at <= FALLBACK_S + LOOK_S + 5
    assert (hang_up.form["Status"], talk.call.status) == (["completed"], "completed")
    found = await record(world, talk.call.sid, lambda found: found.call["line_ghost_ms"] is not None)
    assert (found.call["end_reason"], found.call["terminal_status"]) == ("model_failed", "completed")
    assert rest(world, talk.call, "GET") == []


async def test_rest_stays_quiet_when_twilio_asked_or_told() -> None:
    """An apology of six seconds takes longer than the fallback's patience, and is not cut short."""
    settings = {"HANGUP_FALLBACK_S": "4", "ENTRY_TTL_S": "5.5", "DRAIN_SECONDS": "0", "MODEL_RECONNECTS": "0"}
    async with World(settings, speak=lambda _text, language: hum("x" * 100, language)) as world:
        (asked, _), (told, _) = await asyncio.gather(ended_by_kav(world), ended_by_kav(world, DEAF))
        await told.call.hang_up()
        gone = await talking(world)
        await gone.call.hang_up()
        await asyncio.gather(*(talk.call.until_reported(20) for talk in (asked, told, gone)))
        await until_healthy(world, lambda figures: figures["entries"] == 0)  # nothing is done for a call after that
        assert [rest(world, talk.call, "POST") for talk in (asked, told, gone)] == [[], [], []]
        assert len(asked.call.said) == 1


async def test_a_terminal_status_that_never_comes_is_fetched_once_and_written_down(world: World) -> None:
    talk = await talking(world, line=CallScript(callbacks=Callbacks(missing=True)))
    await talk.call.hang_up()
    found = await record(world, talk.call.sid, lambda found: bool(found.call["terminal_status"]))
    assert (found.call["terminal_status"], found.call["duration_s"]) == ("completed", talk.call.duration_s)
    assert found.call["end_reason"] == "caller_hung_up"
    (fetch,) = rest(world, talk.call, "GET")
    assert talk.call.ended_at is not None
    assert STATUS_S - 0.1 <= fetch.at - talk.call.ended_at <= STATUS_S + LOOK_S + 5
    assert rest(world, talk.call, "POST") == []


async def test_a_line_that_is_still_up_when_its_status_is_fetched_is_hung_up_after_all(world: World) -> None:
    world.twilio.rest.fail(400, code=20001)
    talk, _ = await ended_by_kav(world, DEAF)
    await talk.call.until_reported()
    assert [asked.status for asked in rest(world, talk.call, "POST")] == [400, 200]
    assert len(rest(world, talk.call, "GET")) == 1
    found = await record(world, talk.call.sid, lambda found: found.call["line_ghost_ms"] is not None)
    assert found.call["line_ghost_ms"] >= STATUS_S * 1000 - 100, "what the failure cost is on record"


async def test_a_line_that_had_to_be_hung_up_is_asked_for_again_until_its_end_is_on_record(world: World) -> None:
    world.twilio.rest.fail(400, code=20001)
    talk, _ = await ended_by_kav(world, replace(DEAF, callbacks=Callbacks(missing=True)))
    found = await record(world, talk.call.sid, lambda found: found.call["line_ghost_ms"] is not None, 20)
    assert (found.call["terminal_status"], found.call["duration_s"]) == ("completed", talk.call.duration_s)
    assert [asked.status for asked in rest(world, talk.call, "POST")] == [400, 200]
    assert len(rest(world, talk.call, "GET")) == 2
    await until_healthy(world, lambda figures: figures["entries"] == 0)


async def test_while_rest_is_down_the_hang_up_is_tried_again_until_it_is_done(world: World) -> None:
    world.twilio.rest.fail(503, count=6, path="/Calls/")  # all that one hang-up tries, and one look at the status
    talk, closed_at = await ended_by_kav(world, replace(DEAF, callbacks=Callbacks(missing=True)))
    await talk.call.until(lambda: talk.call.ended_at is not None, 20)
    await talk.call.until(lambda: len(rest(world, talk.call, "POST")) == 4)  # noted once it is answered
    assert [asked.status for asked in rest(world, talk.call, "POST")] == [503, 503, 503, 200]
    assert talk.call.ended_at is not None
    assert talk.call.ended_at - closed_at >= FALLBACK_S + FIRST_RETRY_S


async def test_the_lines_ghost_is_what_twilios_clock_says(world: World) -> None:
    async def apart_ms() -> float:
        """By how much the clocks differ over three calls, at most."""
        ends = await asyncio.gather(*(ended_by_kav(world, line) for line in (DEAF, CallScript(), CallScript())))
        apart: list[float] = []
        for talk, closed_at in ends:
            await talk.call.until_reported()
            seen_ms = (talk.call.statuses[0].at - closed_at) * 1000
            found = await record(world, talk.call.sid, lambda found: found.call["line_ghost_ms"] is not None)
            apart.append(abs(found.call["line_ghost_ms"] - seen_ms))
        return max(apart)

    await agrees(apart_ms)


async def agrees(apart_ms: Callable[[], Awaitable[float]]) -> None:
    """Two clocks agree in one of the attempts."""
    seen = [await apart_ms()]
    while seen[-1] > CLOCKS_AGREE_MS and len(seen) < ATTEMPTS:
        seen.append(await apart_ms())
    assert seen[-1] <= CLOCKS_AGREE_MS, seen


async def test_a_caller_who_hung_up_leaves_no_ghost_on_the_line(world: World) -> None:
    talk = await talking(world)
    await talk.call.hang_up()
    await talk.call.until_reported()
    await until_healthy(world, lambda figures: figures["entries"] == 0)  # nothing is done for a call after that
    found = await talk.record()
    assert (found.call["end_reason"], found.call["line_ghost_ms"]) == ("caller_hung_up", None)


async def test_the_sockets_ghost_is_what_both_stand_ins_clocks_say(world: World) -> None:
    async def apart_ms() -> float:
        """By how much the clocks differ over three calls, at most."""
        talks = [await talking(world) for _ in range(3)]
        talks[1].call.freeze_media()
        talks[2].call.drop("never_answers_close")
        talks[2].session.peer.answers_close = False
        apart: list[float] = []
        for talk in talks:
            asked = await talk.call.post_status("completed")
            await talk.closed(asked.at)
            fins = [peer.eof_at or 0.0 for peer in (talk.call.socket, talk.session.peer)]
            found = await talk.record()
            assert found.call["socket_ghost_ms"] == found.streams[0]["socket_ghost_ms"]
            apart.append(abs(found.call["socket_ghost_ms"] - (max(fins) - asked.at) * 1000))
        return max(apart)

    await agrees(apart_ms)

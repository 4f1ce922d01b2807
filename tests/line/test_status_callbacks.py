"""Status callbacks come early, late, twice, out of order and absurd: the record is right, and nobody pays."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from rehearsal.twilio import Callbacks, CallScript, Line
from rehearsal.world import World
from tests.line.asking import about, ask
from tests.line.ending import Record, fin, read, record, talking, until_healthy

STRANGER = "CA" + "e" * 31


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """Entries are forgotten three seconds after their end, so that what would bring one back is seen."""
    async with World({"ENTRY_TTL_S": "3", "DRAIN_SECONDS": "0"}) as world:
        yield world
        assert world.model.violations == []
        assert [notice for call in world.twilio.calls for notice in call.violations] == []
        assert " ERROR " not in world.kav.log(1_000_000)


# Before the media socket opens


@pytest.mark.parametrize("before_s", [1.5, 6.0])
async def test_a_status_before_the_socket_opens_frees_the_model_and_closes_the_late_socket(
    world: World, before_s: float
) -> None:
    line = Line(connect_after_s=before_s)
    call = await world.call(line=CallScript(line=line))
    prewarmed = await world.session_of(call)
    since = time.monotonic()
    await call.post_status("completed", {"CallDuration": "0"})
    await fin(prewarmed.peer, since)
    streaming = await call.until_streaming()
    await fin(call.socket, streaming)
    await call.until_reported()
    assert call.socket.close_code == 1008
    assert call.media_bytes == 0
    assert len(world.sessions_of(call)) == 1, "no session is paid for after the end"
    assert read(world, call.sid).streams == []
    found = await record(world, call.sid, lambda found: found.whole)
    assert (found.call["end_reason"], found.call["terminal_status"]) == ("call_status_completed", "completed")


async def test_a_status_while_the_socket_says_nothing_yet_closes_it_at_its_start(world: World) -> None:
    call = await world.call(line=CallScript(line=Line(start_after_s=0.5)))
    await call.until(lambda: len(call.streams) == 1)
    await call.post_status("canceled")
    await fin(call.socket, await call.until_streaming())
    assert len(world.sessions_of(call)) == 1


async def test_a_caller_who_leaves_before_the_answer_leaves_no_model(world: World) -> None:
    call = await world.call(line=CallScript(line=Line(connect_after_s=30)))
    session = await world.session_of(call)
    since = time.monotonic()
    await call.hang_up()
    await fin(session.peer, since)
    assert call.streams == []


# Twice, late, out of order


async def test_the_first_terminal_status_wins_and_the_greatest_duration_stays(world: World) -> None:
    talk = await talking(world)
    for status, seconds in (("busy", "7"), ("completed", "9"), ("failed", "3"), ("completed", "")):
        await talk.call.post_status(status, {"CallDuration": seconds})
    await talk.call.until_reported()
    found = await talk.record()
    assert found.call["terminal_status"] == found.call["status"] == "busy"
    assert found.call["duration_s"] == 9
    assert found.call["end_reason"] == "call_status_busy"
    assert talk.finalisations() == 1


async def test_a_status_out_of_order_turns_nothing_back(world: World) -> None:
    talk = await talking(world)
    for status in ("completed", "in-progress", "ringing", "initiated", "queued"):
        assert (await talk.call.post_status(status)).status == 204
    found = await talk.record()
    assert found.call["terminal_status"] == found.call["status"] == "completed"


async def test_a_status_that_is_not_terminal_ends_nothing(world: World) -> None:
    talk = await talking(world)
    for status in ("in-progress", "ringing", "Completed", "completed ", "", "dancing"):
        await talk.call.post_status(status)
    heard = talk.call.heard_ms
    await talk.call.until_heard(heard + 100)
    assert talk.finalisations() == 0
    assert read(world, talk.call.sid).call["terminal_status"] is None
    await talk.call.hang_up()


async def test_callbacks_in_copies_and_before_the_stop_are_one_end(world: World) -> None:
    plans = (Callbacks(copies=3), Callbacks(early=True), Callbacks(delay_s=0.5), Callbacks(reversed=True))
    talks = await asyncio.gather(*(talking(world, line=CallScript(callbacks=plan)) for plan in plans))
    await asyncio.gather(*(talk.call.hang_up() for talk in talks))
    for talk in talks:
        await talk.call.until_reported()
        assert {asked.status for asked in talk.call.statuses} == {204}
        found = await record(world, talk.call.sid, lambda found: found.whole and found.call["terminal_status"])
        assert (found.call["terminal_status"], len(found.streams), talk.finalisations()) == ("completed", 1, 1)


# Strangers and absurdities


async def test_an_unknown_call_is_written_down_and_gets_no_entry(world: World) -> None:
    before = (await world.kav.health())["entries"]
    sid = STRANGER + "0"
    answer = await ask(world, "/twilio/status", about(sid, "completed", CallDuration="12"))
    found = await _written(world, sid)
    assert answer.status == 204
    assert (found.call["terminal_status"], found.call["duration_s"]) == ("completed", 12)
    assert (await world.kav.health())["entries"] <= before


async def test_a_late_status_brings_no_forgotten_entry_back(world: World) -> None:
    talk = await talking(world)
    await talk.call.hang_up()
    await talk.call.until_reported()
    await until_healthy(world, lambda figures: figures["entries"] == 0)
    await talk.call.post_status("failed", {"CallDuration": "3599"})
    await ask(world, "/twilio/after-stream", about(talk.call.sid, "in-progress"))
    figures = await world.kav.health()
    assert (figures["entries"], figures["models"]) == (0, 0)
    found = await record(world, talk.call.sid, lambda found: found.call["duration_s"] == 3599)
    assert found.call["terminal_status"] == "completed"


async def test_an_absurd_duration_says_nothing(world: World) -> None:
    kept = {"": None, "-5": None, "1e3": None, "٧": None, "7.5": None, "9" * 10_000: None, "0": 0, "61": 61}
    for number, (duration, seconds) in enumerate(kept.items()):
        sid = f"{STRANGER}{number + 1}"
        answer = await ask(world, "/twilio/status", about(sid, "completed", CallDuration=duration))
        assert (answer.status, (await _written(world, sid)).call["duration_s"]) == (204, seconds), duration[:20]


ABSURD_FIELDS = (
    {"CallStatus": "x" * 10_000},
    {"CallStatus": "שלום\U0001f4de\u202e"},
    {"CallStatus": "completed", "Direction": "x" * 10_000},
    {"CallStatus": "completed", "Direction": "\x00"},
    {"CallStatus": "completed", "From": "'; DROP TABLE calls; --", "To": "\x00" * 100},
)


async def test_absurd_fields_harm_neither_a_live_call_nor_its_record(world: World) -> None:
    await asyncio.gather(*(_suffer(world, absurd) for absurd in ABSURD_FIELDS))


async def _suffer(world: World, absurd: dict[str, str]) -> None:
    talk = await talking(world)
    answer = await ask(world, "/twilio/status", about(talk.call.sid, "", Direction="inbound") | absurd)
    assert answer.status == 204
    await talk.call.hang_up()
    await talk.call.until_reported()
    found = await record(world, talk.call.sid, lambda found: found.whole and found.call["terminal_status"])
    assert (found.call["terminal_status"], found.call["direction"]) == ("completed", "inbound")
    assert found.call["from_number"] == talk.call.order.from_


async def test_an_absurd_call_sid_is_no_error(world: World) -> None:
    for sid in ("", "x" * 10_000, "קול", "CA\x00", "' OR 1=1"):
        for path in ("/twilio/status", "/twilio/after-stream", "/twilio/stream-status"):
            assert (await ask(world, path, about(sid, "completed"))).status in (200, 204)
        assert (await ask(world, "/twilio/voice", about("", "ringing", From=sid))).status == 200


async def test_a_request_without_any_field_or_with_too_many_bytes_is_no_fault_of_kavs(world: World) -> None:
    for path in ("/twilio/status", "/twilio/after-stream", "/twilio/voice", "/twilio/voice-fallback"):
        assert (await ask(world, path, {})).status in (200, 204)
        assert (await ask(world, path, {"CallSid": "x" * 100_000})).status in (400, 403, 413)


async def test_a_direction_that_contradicts_is_not_obeyed(world: World) -> None:
    talk = await talking(world)
    await talk.call.post_status("in-progress", {"Direction": "outbound-api"})
    await talk.call.post_status("completed", {"Direction": "outbound-dial"})
    found = await talk.record()
    assert found.call["direction"] == "inbound"
    assert "another direction" in world.kav.log(1_000_000)


async def _written(world: World, sid: str) -> Record:
    return await record(world, sid, lambda found: bool(found.call))

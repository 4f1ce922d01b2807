"""A process is killed: its calls go on at the same step in another, and what it left undone is done."""

import signal
import time
from collections.abc import AsyncIterator

import pytest

from rehearsal.twilio import CallScript
from tests.line.listening import SPEECH, Talk
from tests.line.test_conversation import orders
from tests.redis.test_wandering_calls import ANSWERS, FIRST, LEAVES, SECOND, heard
from tests.redis.town import WAIT_S, Town, until


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    async with Town() as town:
        yield town


async def test_a_call_whose_process_is_killed_goes_on_at_the_same_step_in_another(town: Town) -> None:
    town.go(voice=0, media=1)
    talk = await town.greeted(ANSWERS)
    await talk.call.say(SPEECH)
    await heard(talk, 2)
    town.go(**dict.fromkeys(("voice", "media", "status", "after_stream"), 0))
    town.kavs[1].signal(signal.SIGKILL)
    await talk.call.until_streaming(WAIT_S, streams=2)
    second = await town.world.session_of(talk.call, 2)
    await second.wait_for("response.create")
    (order,) = orders(Talk(talk.call, second))
    assert SECOND in order
    assert FIRST not in order
    await talk.call.hang_up()
    row = await town.row(talk.call, lambda row: None not in (row.get("end_reason"), row.get("terminal_status")))
    assert row["status"] == "completed"
    assert [answer["value"] for answer in town.rows("answers", talk.call)] == ["דלת"]


async def test_what_a_killed_process_had_still_to_do_for_a_call_is_done_by_another(town: Town) -> None:
    town.go(voice=0, media=1)
    talk = await town.greeted(LEAVES, line=CallScript(asks_after_stream=False))
    await talk.call.say(SPEECH)
    await talk.call.until_socket_closed(WAIT_S)
    town.go(**dict.fromkeys(("voice", "media", "status", "after_stream"), 0))
    town.kavs[1].signal(signal.SIGKILL)
    killed_at = time.monotonic()
    await talk.call.until_ended(3 * WAIT_S)
    assert time.monotonic() - killed_at < 3 * WAIT_S
    await until(lambda: town.hang_ups(talk.call) == 1)  # Twilio never asked what comes after: it was told
    row = await town.row(talk.call, lambda row: row.get("line_ghost_ms") is not None)
    assert row["end_reason"] == "goodbye"
    await until(lambda: town.log_lines(talk.call, "its call is looked after here") == [0])


async def test_a_process_that_stops_ends_its_own_calls_alone(town: Town) -> None:
    town.go(voice=0, media=1, after_stream=1, status=1)
    talk = await town.greeted()
    town.kavs[0].signal(signal.SIGTERM)
    assert await town.kavs[0].ended() == 0
    assert talk.call.socket.eof_at is None, "it had answered the call's webhook, and no more"
    await talk.call.say(SPEECH)
    await heard(talk, 2)
    await talk.call.hang_up()
    await town.row(talk.call, lambda row: row.get("status") == "completed")

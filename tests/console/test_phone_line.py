"""The browser phone's line: Twilio's protocol on a socket of its own, typed lines, and a record like any call's."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rehearsal.model import CallTool, ObedientScript
from rehearsal.world import World
from tests.console.browser import BROWSER, PASSWORD, Operator, Page, called, until
from tests.line.ending import record
from tests.line.listening import SPEECH, Voiced, noise, say
from tests.line.test_conversation import Judging


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """A console, and a Kav that would soon ask Twilio about a call that is over."""
    settings = {
        "KAV_CONSOLE_PASSWORD": PASSWORD,
        "HANGUP_FALLBACK_S": "0.5",
        "TERMINAL_STATUS_S": "0.5",
        "VAD_SILENCE_MS": "200",
        "SILENCE_ASK_S": "30",
        "SILENCE_CLOSE_S": "40",
        "DRAIN_SECONDS": "0",
        "MODEL_RECONNECTS": "0",
    }
    async with World(settings) as world:
        yield world
        assert world.model.violations == [], "Kav broke the model's rules"


@pytest.fixture
async def operator(world: World) -> AsyncIterator[Operator]:
    async with Operator(world.kav.url) as operator:
        yield operator


async def greeted(world: World, operator: Operator, *answers: bytes, greeting_ms: int = 300) -> Page:
    """A call that has heard its greeting."""
    script = Voiced(say(noise(1, greeting_ms)), [say(sound) for sound in answers])
    page = await called(world, operator, script)
    await until(lambda: heard_ms(page) >= greeting_ms, "the greeting")
    return page


async def ended(world: World, page: Page) -> dict[str, Any]:
    """The call's record, when all of its end is written."""
    found = await record(world, page.sid, lambda found: found.whole and found.call["terminal_status"] is not None)
    return found.call


def heard_ms(page: Page) -> float:
    return page.stream.playback.heard_ms(time.monotonic())


async def test_the_caller_hears_the_greeting_and_speaks(world: World, operator: Operator) -> None:
    page = await greeted(world, operator, noise(2, 200))
    await page.stream.say(SPEECH)
    await page.session.wait_for("input_audio_buffer.committed")
    await until(lambda: heard_ms(page) >= 500, "the answer")
    assert page.stream.marks_echoed
    page.stream.hang_up()


async def test_its_record_says_browser_and_who_hung_up_and_twilio_is_never_asked(
    world: World, operator: Operator
) -> None:
    page = await greeted(world, operator)
    page.stream.hang_up()
    found = await ended(world, page)
    assert (found["from_number"], found["direction"], found["line"]) == (BROWSER, "inbound", "browser")
    assert (found["end_reason"], found["terminal_status"]) == ("caller_hung_up", "completed")
    assert found["line_ghost_ms"] is None
    await asyncio.sleep(1.2)  # twice as long as Kav would wait before it asks
    assert [asked for asked in world.twilio.rest.requests if page.sid in asked.path] == []


async def test_a_typed_line_reaches_the_model_as_text_and_is_answered(world: World, operator: Operator) -> None:
    page = await greeted(world, operator, noise(2, 200))
    page.type("  כמה עולה תיקון? ")
    await until(lambda: heard_ms(page) >= 500, "the answer")
    (item,) = page.items("user")
    assert item["content"] == [{"type": "input_text", "text": "כמה עולה תיקון?"}]
    turns = (await page.state())["turns"]
    assert [(turn["who"], turn["heard"]) for turn in turns if turn["who"] == "caller"] == [
        ("caller", "כמה עולה תיקון?")
    ]
    page.stream.hang_up()


async def test_a_typed_line_silences_a_bot_that_is_speaking(world: World, operator: Operator) -> None:
    page = await called(world, operator, Voiced(say(noise(1, 8000)), [say(noise(2, 200))]))
    await until(lambda: heard_ms(page) >= 400, "the greeting's beginning")
    page.type("רגע")
    await until(lambda: page.stream.clears, "clear")
    await until(lambda: page.asked("conversation.item.truncate"), "truncate")
    assert heard_ms(page) < 5000
    (cut,) = page.asked("conversation.item.truncate")
    assert cut["audio_end_ms"] <= heard_ms(page)
    (turn,) = [turn for turn in (await page.state())["turns"] if turn["unheard"]]
    assert turn["who"] == "bot"
    page.stream.hang_up()


async def test_what_is_no_line_of_this_calls_is_dropped(world: World, operator: Operator) -> None:
    page = await greeted(world, operator)
    page.type("x" * 501)
    page.type("   ")
    page.type("another call's", stream_sid="MZother")
    page.say(event="text", streamSid=page.stream.sid)
    page.type("this one's")
    await until(lambda: page.items("user"), "the last line")
    assert [item["content"][0]["text"] for item in page.items("user")] == ["this one's"]
    page.stream.hang_up()


async def test_nobody_types_on_a_telephone_line(world: World) -> None:
    call = await world.connected_call(ObedientScript())
    session = await world.session_of(call)
    await call.until_heard(200)
    call.send_raw(f'{{"event":"text","streamSid":"{call.stream.sid}","text":"hello"}}')
    call.dtmf("1")
    await session.wait_for("response.create", count=2)
    created = [event["item"] for _, event in session.received if event["type"] == "conversation.item.create"]
    assert [item for item in created if item.get("role") == "user"] == []
    await call.hang_up()


async def test_keys_are_pressed_as_on_a_telephone(world: World, operator: Operator) -> None:
    page = await greeted(world, operator, noise(2, 200))
    page.stream.dtmf("5#")
    await until(lambda: heard_ms(page) >= 500, "the answer")
    assert any(turn["kind"] == "keys" for turn in (await page.state())["turns"])
    page.stream.hang_up()


async def test_a_page_that_is_closed_without_a_word_ends_its_call(world: World, operator: Operator) -> None:
    page = await greeted(world, operator)
    page.stream.drop("reset", verb_ends=False)
    state = await page.over()
    assert state["why"]
    found = await ended(world, page)
    assert found["end_reason"] == "socket_lost"


async def test_an_outbound_flow_calls_the_page_and_is_filled_with_what_was_written(
    world: World, operator: Operator
) -> None:
    page = await called(world, operator, None, flow="sales", variable_sales_name="דנה", number="")
    await until(lambda: page.items("system"), "the greeting's order")
    assert "דנה" in page.items("system")[0]["content"][0]["text"]
    page.stream.hang_up()
    found = await ended(world, page)
    assert (found["direction"], found["to_number"]) == ("outbound", BROWSER)


async def test_a_lost_model_is_told_as_the_apology_that_twilio_would_say(world: World, operator: Operator) -> None:
    page = await greeted(world, operator)
    page.session.drop()
    state = await page.over()
    assert "תקלה" in state["epilogue"]
    assert state["rings"] == ""


async def test_a_hand_over_is_announced_and_then_told_as_the_number_that_would_ring(
    world: World, operator: Operator
) -> None:
    script = Judging([CallTool("transfer_to_human", {"language": "he"})])
    page = await called(world, operator, script, flow="locksmith")
    await until(lambda: heard_ms(page) >= 300, "the greeting")
    page.type("תעבירו אותי לבן אדם")
    state = await page.over()
    assert heard_ms(page) >= 600, "the announcement was heard"
    assert "+97231110009" in state["rings"]
    assert state["epilogue"] == ""
    found = await ended(world, page)
    assert (found["end_reason"], found["terminal_status"]) == ("transferred", "completed")


async def test_a_typed_answer_moves_the_script_on(world: World, operator: Operator) -> None:
    answer = CallTool("answer_step", {"step": "problem", "value": "ננעלתי בחוץ", "language": "he"})
    page = await called(world, operator, Judging([answer]), flow="locksmith")
    await until(lambda: heard_ms(page) >= 300, "the greeting")
    before = (await page.state())["step"]
    page.type("ננעלתי בחוץ")
    await until(lambda: heard_ms(page) >= 600, "the next question")
    assert (before, (await page.state())["step"]) == ("problem", "city")
    page.stream.hang_up()


async def test_a_drain_lets_no_page_begin_and_ends_its_record(operator: Operator, world: World) -> None:
    """Last of its module: it stops Kav."""
    page = await greeted(world, operator)
    world.kav.signal(signal.SIGTERM)
    await until(lambda: page.stream.over.is_set(), "the end")
    await world.kav.ended()
    found = await ended(world, page)
    assert (found["end_reason"], found["terminal_status"]) == ("shutdown", "completed")

"""The browser phone in a real browser: it is heard, it hears, it types, and it goes silent at once."""

import asyncio
import time
import wave
from array import array
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from rehearsal.audio import decode_ulaw, silence
from rehearsal.model import ModelSession, ObedientScript, Reply, Say, Script
from rehearsal.world import World
from tests.console.browser import BROWSER, PASSWORD, WAIT_S, until
from tests.console.chromium import WAIT_MS, chromium, logged_in
from tests.line.ending import record
from tests.line.listening import SPEECH, Voiced, noise, say

QUIET_S, SPOKEN_S = 5.0, 1.0
SILENT_WITHIN_S = 0.02
"""Of the audio thread's own time, from `clear` to the last sample that can be heard."""
ATTEMPTS = 3
"""A browser may stand still, and send late what it has; one whose clock goes wrong does so each time."""
MODULE = "document.querySelector('script[type=module]').src"


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """A console, and short turns."""
    settings = {"KAV_CONSOLE_PASSWORD": PASSWORD, "VAD_SILENCE_MS": "200", "DRAIN_SECONDS": "0"}
    async with World(settings) as world:
        yield world
        assert world.model.violations == [], "Kav broke the model's rules"


@pytest.fixture(scope="module")
async def deaf() -> AsyncIterator[Browser]:
    """A browser that lets no page use a microphone."""
    async with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
async def hearing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    """A browser whose microphone hears a voice after a while."""
    path = tmp_path_factory.mktemp("microphone") / "voice.wav"
    voice = SPEECH * round(SPOKEN_S * 8000 / len(SPEECH))
    _write(path, decode_ulaw(silence(QUIET_S * 1000) + voice + silence(60_000)))
    async with chromium(path) as browser:
        yield browser


def _write(path: Path, samples: "array[int]") -> None:
    """Write telephone audio as a microphone gives it: 48 kHz."""
    with wave.open(str(path), "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(48_000)
        wav.writeframes(array("h", (sample for sample in samples for _ in range(6))).tobytes())


async def figures(page: Page) -> Any:  # noqa: ANN401 - as JSON has it
    """What the page's call has counted."""
    return await page.evaluate(f"async () => (await import({MODULE})).call?.figures")


async def counted(page: Page, condition: Callable[[Any], bool], what: str) -> Any:  # noqa: ANN401 - as JSON has it
    """Wait until the page's figures are so; returns them."""
    deadline = time.monotonic() + WAIT_S
    while not ((found := await figures(page)) and condition(found)):
        assert time.monotonic() < deadline, f"{what}: {found}"
        await asyncio.sleep(0.02)
    return found


def audible_for(seconds: float) -> Callable[[Any], bool]:
    """Whether so much of the bot's voice was heard."""
    return lambda figures: figures["level"]["audible"] > seconds


def silent_since_the_cut(figures: Any) -> bool:  # noqa: ANN401 - as JSON has it
    """Whether something was cleared, and the audio thread has gone on for a while since."""
    return bool(figures["cleared"]) and figures["level"]["at"] > figures["cleared"][0]["at"] + 0.3


def _reached(session: ModelSession, length: int) -> bool:
    return len(session.audio_in) >= length


async def place(world: World, page: Page, script: Script | None = None, flow: str = "default") -> ModelSession:
    """Press the button; returns the model's side of the call."""
    number = world.expect(BROWSER, script)
    await page.select_option("#flow", flow)
    await page.click("#place button")
    return await world.session_with(BROWSER, number)


async def hang_up(page: Page) -> str:
    """Hang up; returns what the page then says."""
    await page.click("#hang-up")
    await page.wait_for_selector("#epilogue:not([hidden])")
    return await page.inner_text("#epilogue")


async def test_somebody_presses_call_and_hears_the_bot(world: World, deaf: Browser) -> None:
    async with logged_in(deaf, world, "/console/phone") as page:
        await place(world, page, Voiced(say(noise(1, 600))))
        await page.wait_for_selector('#lamp[data-state="bot"]')
        heard = await counted(page, audible_for(0.5), "the greeting")
        assert heard["level"]["audible"] < 0.65, "played once, and at the speed of speech"
        assert "You hung up." in await hang_up(page)


async def test_marks_come_back_in_order_when_what_stood_before_them_was_played(world: World, deaf: Browser) -> None:
    async with logged_in(deaf, world, "/console/phone") as page:
        await place(world, page, Voiced(say(noise(1, 5000))))
        begun = await counted(page, lambda f: len(f["asked"]) > 2, "marks")
        assert len(begun["echoed"]) < len(begun["asked"]), "they were not played yet"
        done = await counted(page, lambda f: len(f["echoed"]) == len(f["asked"]), "their echoes")
        assert audible_for(4)(done)
        assert done["echoed"] == done["asked"]
        await hang_up(page)


async def test_a_typed_line_silences_the_bot_within_a_frame_and_gives_all_marks_back(
    world: World, deaf: Browser
) -> None:
    async with logged_in(deaf, world, "/console/phone") as page:
        script = Voiced(say(noise(1, 8000)), [say(noise(2, 300), first_after_s=5)])
        session = await place(world, page, script)
        await counted(page, audible_for(0.5), "the greeting's beginning")
        await page.fill("#line", "רגע")
        await page.keyboard.press("Enter")
        cut = await counted(page, silent_since_the_cut, "silence")
        assert cut["cleared"][0]["waited"] > 4, "most of it was still to be played"
        assert cut["level"]["last"] <= cut["cleared"][0]["at"] + SILENT_WITHIN_S
        assert cut["echoed"] == cut["asked"]
        truncated = await session.wait_for("conversation.item.truncate")
        assert truncated["audio_end_ms"] <= cut["level"]["audible"] * 1000 + 1000, "of eight seconds"
        await counted(page, audible_for(cut["level"]["audible"] + 0.25), "the answer")
        assert await page.locator(".turn.bot .unheard:visible").count() == 1
        await hang_up(page)


async def test_a_voice_at_the_microphone_is_heard_by_the_model_and_silences_the_bot(
    world: World, hearing: Browser
) -> None:
    async with logged_in(hearing, world, "/console/phone") as page:
        session = await place(world, page, Voiced(say(noise(1, 15_000))))
        await session.wait_for("input_audio_buffer.speech_started", timeout=20)
        cut = await counted(page, lambda f: len(f["cleared"]) == 1, "silence")
        assert cut["cleared"][0]["waited"] > 1
        await session.wait_for("input_audio_buffer.committed", timeout=10)
        await page.wait_for_selector(".turn.caller")
        await hang_up(page)


async def test_without_a_microphone_the_line_is_silent_and_lives(world: World, deaf: Browser) -> None:
    async with logged_in(deaf, world, "/console/phone") as page:
        session = await place(world, page, Voiced(say(noise(1, 200))))
        await page.wait_for_selector("#no-microphone:not([hidden])")
        await until(lambda: len(session.audio_in) > 3 * 8000, "three seconds of frames")
        assert set(session.audio_in) == {0xFF}
        appended = [event["audio_bytes"] for _, event in session.received if event["type"].endswith("append")]
        assert set(appended) == {160}
        await hang_up(page)


async def test_frames_come_at_the_speed_of_the_clock(world: World, deaf: Browser) -> None:
    async with logged_in(deaf, world, "/console/phone") as page:
        session = await place(world, page, Voiced(say(noise(1, 200))))
        taken: list[float] = []
        while not any(3.3 < each < 4.7 for each in taken):
            assert len(taken) < ATTEMPTS, taken
            before, at = len(session.audio_in), time.monotonic()
            await until(partial(_reached, session, before + 4 * 8000), "four seconds of frames")
            taken.append(time.monotonic() - at)
        await hang_up(page)


async def test_what_is_typed_and_answered_stands_on_the_page(world: World, deaf: Browser) -> None:
    async with logged_in(deaf, world, "/console/phone") as page:
        words = "השעה שלוש <b>וחצי</b>."
        await place(world, page, ObedientScript([Reply([Say(words, audio=noise(3, 300))])]))
        await page.wait_for_selector(".turn.bot")
        await page.fill("#line", "מה השעה?")
        await page.click("#typed button")
        await page.wait_for_selector(".turn.caller")
        assert await page.inner_text(".turn.caller .words") == "מה השעה?"
        await expect(page.locator(".turn.bot")).to_have_count(2, timeout=WAIT_MS)
        await page.get_by_text(words).wait_for()
        await hang_up(page)


async def test_keys_are_pressed_with_the_mouse_and_from_the_keyboard(world: World, deaf: Browser) -> None:
    async with logged_in(deaf, world, "/console/phone") as page:
        await place(world, page, Voiced(say(noise(1, 200))))
        await page.wait_for_selector(".turn.bot")
        await page.click('[data-key="4"]')
        await page.keyboard.press("2")
        await page.keyboard.press("#")
        await page.get_by_text("42", exact=True).wait_for()
        await hang_up(page)


async def test_a_page_that_is_left_hangs_up(world: World, deaf: Browser) -> None:
    async with logged_in(deaf, world, "/console/phone") as page:
        async with page.expect_response("**/console/phone/calls") as placed:
            await place(world, page, Voiced(say(noise(1, 200))))
        ticket = await (await placed.value).json()
        await page.wait_for_selector(".turn.bot")
        await page.goto(f"{world.kav.url}/console/login")
    found = await record(world, ticket["callSid"], lambda found: found.whole)
    assert found.call["end_reason"] == "caller_hung_up"


async def test_a_call_that_cannot_be_placed_says_why(world: World, deaf: Browser) -> None:
    async with logged_in(deaf, world, "/console/phone") as page:
        await page.fill("#number", "call me")
        await page.click("#place button")
        await page.get_by_text("not a telephone number").wait_for()


BROKEN = """
  Worklet.prototype.addModule = async () => { throw new DOMException("no such module", "AbortError"); };
  const { getUserMedia } = MediaDevices.prototype, { AudioContext } = window;
  window.opened = { tracks: [], contexts: [] };
  MediaDevices.prototype.getUserMedia = async function (wanted) {
    const stream = await getUserMedia.call(this, wanted);
    window.opened.tracks.push(...stream.getTracks());
    return stream;
  };
  window.AudioContext = class extends AudioContext {
    constructor(...wanted) {
      super(...wanted);
      window.opened.contexts.push(this);
    }
  };
"""
"""A page whose audio worklets cannot be fetched; it keeps what it opens, so that one sees whether that was closed."""


async def test_audio_that_cannot_be_opened_leaves_the_microphone_off(world: World, hearing: Browser) -> None:
    async with logged_in(hearing, world, "/console/phone") as page:
        await page.add_init_script(BROKEN)
        await page.reload()
        await page.click("#place button")
        await expect(page.locator("#trouble")).to_contain_text("AbortError")
        assert await page.evaluate("opened.tracks.map((track) => track.readyState)") == ["ended"]
        assert await page.evaluate("opened.contexts.map((context) => context.state)") == ["closed"]
        assert await page.is_enabled("#place button"), "one may try again"


async def test_in_hebrew_the_page_reads_from_right_to_left(world: World, deaf: Browser) -> None:
    async with logged_in(deaf, world, "/console/phone", "he") as page:
        assert await page.get_attribute("html", "dir") == "rtl"
        await page.get_by_role("button", name="להתקשר").wait_for()
        await place(world, page, Voiced(say(noise(1, 200))))
        await page.get_by_role("button", name="לנתק").wait_for()
        box = await page.get_by_role("group", name="לוח מקשים").locator('[data-key="1"]').bounding_box()
        other = await page.get_by_role("group", name="לוח מקשים").locator('[data-key="3"]').bounding_box()
        assert box is not None
        assert other is not None
        assert box["x"] < other["x"], "a keypad has its 1 on the left in every language"
        await hang_up(page)

"""The page's audio, part by part, in the browser that runs it: held against the rehearsal's own telephone audio."""

import math
from array import array
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Page

from rehearsal.audio import SAMPLE_RATE, decode_ulaw, encode_ulaw, to_phone_rate
from rehearsal.world import World
from tests.console.browser import PASSWORD
from tests.console.chromium import chromium, logged_in

FULL_SCALE = 32767


@pytest.fixture(scope="module")
async def page() -> AsyncIterator[Page]:
    """A page from which the phone's modules can be loaded."""
    async with (
        World({"KAV_CONSOLE_PASSWORD": PASSWORD}) as world,
        chromium() as browser,
        logged_in(browser, world, "/console/phone") as page,
    ):
        yield page


async def run(page: Page, module: str, body: str, argument: object = None) -> Any:  # noqa: ANN401 - as JSON has it
    """Run `body` with a module's exports `m` and an argument `a`."""
    path = f"/console/static/phone/{module}"
    return await page.evaluate(f"async (a) => {{ const m = await import('{path}'); {body} }}", argument)


def sine(hz: float, rate: int, seconds: float = 0.5) -> list[float]:
    return [0.5 * math.sin(2 * math.pi * hz * n / rate) for n in range(round(rate * seconds))]


def rms(samples: list[float]) -> float:
    """Of the middle, where the filter has its whole width."""
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    return math.sqrt(sum(sample * sample for sample in middle) / len(middle))


async def test_every_mu_law_byte_means_what_it_means_to_a_telephone(page: Page) -> None:
    decoded = await run(page, "mulaw.js", "return Array.from({ length: 256 }, (_, byte) => m.decodeByte(byte));")
    assert decoded == decode_ulaw(bytes(range(256))).tolist()


async def test_every_sample_becomes_the_byte_that_a_telephone_makes_of_it(page: Page) -> None:
    body = "return Array.from({ length: 65536 }, (_, n) => m.encodeSample(n - 32768));"
    encoded = await run(page, "mulaw.js", body)
    assert bytes(encoded) == encode_ulaw(array("h", range(-32768, 32768)))


async def test_silence_and_what_is_too_loud_are_bytes_too(page: Page) -> None:
    body = "return [...m.encode(Float32Array.from([0, 2, -2]))];"
    silent, loudest, lowest = await run(page, "mulaw.js", body)
    assert (silent, loudest, lowest) == (0xFF, 0x80, 0x00)


RESAMPLE = """
  const r = new m.Resampler(a.from, a.to);
  const out = [];
  for (let n = 0; n < a.samples.length; n += a.block) {
    out.push(...r.process(Float32Array.from(a.samples.slice(n, n + a.block))));
  }
  return out;
"""


async def resampled(page: Page, samples: list[float], from_: int, to: int, block: int = 128) -> list[float]:
    argument = {"samples": samples, "from": from_, "to": to, "block": block}
    found: list[float] = await run(page, "resampler.js", RESAMPLE, argument)
    return found


@pytest.mark.parametrize("rate", [48_000, 44_100, 16_000])
@pytest.mark.parametrize("hz", [300, 1000, 3000])
async def test_a_voices_tones_come_down_to_the_telephones_rate_as_loud_as_they_were(
    page: Page, rate: int, hz: int
) -> None:
    samples = sine(hz, rate)
    found = await resampled(page, samples, rate, SAMPLE_RATE)
    assert len(found) == pytest.approx(len(samples) * SAMPLE_RATE / rate, abs=40)
    assert rms(found) == pytest.approx(rms(samples), rel=0.06)


@pytest.mark.parametrize("rate", [48_000, 44_100])
async def test_what_a_telephone_cannot_carry_does_not_fold_back(page: Page, rate: int) -> None:
    found = await resampled(page, sine(5500, rate), rate, SAMPLE_RATE)
    assert 20 * math.log10(rms(found) / rms(sine(5500, rate))) < -40


@pytest.mark.parametrize("rate", [48_000, 44_100])
async def test_the_bots_voice_goes_up_to_the_browsers_rate_without_a_second_voice_above_it(
    page: Page, rate: int
) -> None:
    found = await resampled(page, sine(1000, SAMPLE_RATE), SAMPLE_RATE, rate, block=22)
    assert rms(found) == pytest.approx(rms(sine(1000, SAMPLE_RATE)), rel=0.02)
    back = to_phone_rate([round(sample * FULL_SCALE) for sample in found], rate)
    assert rms([sample / FULL_SCALE for sample in back]) == pytest.approx(rms(found), rel=0.02)


async def test_blocks_leave_no_seam(page: Page) -> None:
    samples = sine(700, 48_000, 0.1)
    whole = await resampled(page, samples, 48_000, SAMPLE_RATE, block=len(samples))
    assert await resampled(page, samples, 48_000, SAMPLE_RATE, block=128) == pytest.approx(whole, abs=1e-6)


async def test_frames_have_one_length_and_lose_nothing(page: Page) -> None:
    body = """
      const framer = new m.Framer(160);
      const bytes = Uint8Array.from({ length: 1000 }, (_, n) => n % 251);
      const frames = [];
      for (let n = 0, size = 1; n < 1000; n += size, size = (size * 7 + 3) % 400 + 1) {
        frames.push(...framer.push(bytes.subarray(n, n + size)));
      }
      return frames.map((frame) => [...frame]);
    """
    frames = await run(page, "framer.js", body)
    assert [len(frame) for frame in frames] == [160] * 6
    assert [byte for frame in frames for byte in frame] == [n % 251 for n in range(960)]


PLAYOUT = """
  const p = new m.Playout(8000);
  const told = [];
  const pull = (n) => { const block = new Float32Array(n); told.push([p.pull(block), [...block]]); };
  const push = (...samples) => p.push(Float32Array.from(samples));
"""


async def test_a_mark_comes_back_when_what_stands_before_it_was_played_and_not_sooner(page: Page) -> None:
    body = f"""{PLAYOUT}
      push(1, 2, 3); told.push(p.mark("a")); push(4); p.mark("b"); p.mark("c");
      pull(2); pull(1); pull(3);
      return told;
    """
    at_once, *pulled = await run(page, "playout.js", body)
    assert at_once == []
    assert pulled == [[[], [1, 2]], [["a"], [3]], [["b", "c"], [4, 0, 0]]]


async def test_with_nothing_to_play_a_mark_comes_back_at_once(page: Page) -> None:
    assert await run(page, "playout.js", f'{PLAYOUT} return p.mark("a");') == ["a"]


async def test_clear_drops_everything_and_gives_all_marks_back_in_order(page: Page) -> None:
    body = f"""{PLAYOUT}
      push(1, 2); p.mark("a"); push(3); p.mark("b"); pull(1);
      told.push(p.clear(), p.waiting); push(9); pull(2);
      return told;
    """
    assert await run(page, "playout.js", body) == [[[], [1]], ["a", "b"], 0, [[], [9, 0]]]


async def test_more_than_ten_minutes_are_not_kept(page: Page) -> None:
    body = f"{PLAYOUT} return [p.push(new Float32Array(4_800_000)), p.push(new Float32Array(1))];"
    assert await run(page, "playout.js", body) == [True, False]

"""What the model is told that the caller heard is what the caller heard: never more, whatever the network does."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from rehearsal.world import World
from tests.line.listening import noise, say, talking

MOMENTS_MS = (30, 130, 250, 430, 780, 1310, 1900)
WITHIN_MS = 250
"""How much less than was heard the model may be told, beside the network's round trip."""

ATTEMPTS = 3
"""A machine that stands still between two clocks is no telephone network: what it spoilt is measured again."""

GREETING, ANSWER = noise(1, 6000), noise(2, 6000)
"""More of each is left to cut than a machine that stands still lets go by."""


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """Turns end after 100 ms of silence, so that two of them fit into one round trip."""
    async with World({"VAD_SILENCE_MS": "100", "DRAIN_SECONDS": "0"}) as world:
        yield world
        assert world.model.violations == [], "Kav broke the model's rules"


async def cut(world: World, at_ms: float, delay_s: float) -> tuple[float, float]:
    """Interrupt a greeting of which so much was heard; return what was heard of it and what the model was told."""
    talk = await talking(world, say(GREETING), delay_s=delay_s)
    await talk.call.until_heard(at_ms)
    await talk.interrupt()
    await talk.session.wait_for("conversation.item.truncate")
    ((_item, told_ms),) = talk.truncations
    return talk.heard_ms_of(GREETING), told_ms


async def test_the_model_is_told_what_was_heard_and_never_more(world: World) -> None:
    ways = [(at_ms, delay_s) for delay_s in (0.0, 0.1) for at_ms in MOMENTS_MS]
    for _attempt in range(ATTEMPTS):
        cuts = await asyncio.gather(*(cut(world, *way) for way in ways))
        wrong = [
            (way, heard_ms, told_ms)
            for way, (heard_ms, told_ms) in zip(ways, cuts, strict=True)
            if not 0 <= heard_ms - told_ms <= 2 * way[1] * 1000 + WITHIN_MS
        ]
        ways = [way for way, _heard_ms, _told_ms in wrong]
        if not ways:
            break
    assert wrong == [], "(heard at, delay), heard, told"


async def cut_again(world: World) -> tuple[float, float]:
    """Interrupt a greeting, and then the answer; return what was heard of that and what the model was told."""
    talk = await talking(world, say(GREETING), say(ANSWER, first_after_s=0), delay_s=0.2)
    await talk.session.wait_for("response.done")
    await talk.call.until_heard(500)
    echoed = len(talk.call.marks_echoed)
    await talk.interrupt()
    assert len(talk.call.marks_echoed) >= echoed + 5, "the greeting's marks are all on their way back at once"
    await talk.call.until(lambda: talk.heard_ms_of(ANSWER) >= 250)
    await talk.interrupt()
    await talk.session.wait_for("conversation.item.truncate", 2)
    return talk.heard_ms_of(ANSWER), talk.truncations[1][1]


async def test_marks_that_a_clear_sent_back_say_nothing_of_the_next_reply(world: World) -> None:
    for _attempt in range(ATTEMPTS):
        heard_ms, told_ms = await cut_again(world)
        if 0 <= heard_ms - told_ms <= 2 * 200 + WITHIN_MS:
            return
    raise AssertionError(f"heard {heard_ms} ms, told {told_ms} ms")

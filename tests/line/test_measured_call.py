"""A call's cost and measures, over the wire: what the model's own count comes to stands on record and at `/metrics`."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import aiohttp
import pytest

from rehearsal.kav import API_TOKEN
from rehearsal.model import CallTool, Faults, ModelSession, Reply, ReplyRequest
from rehearsal.twilio import Call
from rehearsal.world import World
from tests.line.ending import record
from tests.line.listening import SPEECH, Talk, noise
from tests.line.test_conversation import LOCKSMITH, LONG_MS, Judging

MADE_UP, LEAVES = CallTool("open_the_safe", {}), CallTool("end_call", {"language": "he"})
REACTION_S, MEAN_LAG_S = 1.5, 0.5
"""What no busy machine comes to; the bench holds Kav to a small part of it."""
WAIT_S = 15.0

TEXT_IN, AUDIO_IN, CACHED, TEXT_OUT, AUDIO_OUT = (Decimal(price) for price in ("4", "32", "0.40", "24", "64"))
"""USD per million tokens of gpt-realtime-2.1, as its price list says: as many millionths of a dollar for one."""
MINUTE = Decimal("0.0045")
"""USD for a minute of gpt-transcribe."""


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """Turns end soon."""
    async with World({"VAD_SILENCE_MS": "200", "DRAIN_SECONDS": "0"}) as world:
        yield world


def cost_micro_usd(session: ModelSession) -> int:
    """What the call cost by the model's own count, by hand: tokens, and seconds of what it transcribed."""
    hung_up_at = session.peer.close_frame_at or time.monotonic()  # what it said after that, nobody heard
    said = [event for at, event in session.sent if at < hung_up_at]
    done = [event["response"] for event in said if event["type"] == "response.done"]
    tokens = sum((_tokens(response["usage"]) for response in done), Decimal(0))
    heard = [event for event in said if event["type"] == "conversation.item.input_audio_transcription.completed"]
    seconds = sum(Decimal(str(event["usage"]["seconds"])) for event in heard)
    return sum(int(part.to_integral_value(ROUND_HALF_UP)) for part in (tokens, seconds * MINUTE * 1_000_000 / 60))


def _tokens(usage: dict[str, Any] | None) -> Decimal:
    if usage is None:
        return Decimal(0)
    into, out = usage["input_token_details"], usage["output_token_details"]
    cached = into["cached_tokens_details"]["text_tokens"]
    text = (into["text_tokens"] - cached) * TEXT_IN + cached * CACHED + out["text_tokens"] * TEXT_OUT
    return Decimal(text + into["audio_tokens"] * AUDIO_IN + out["audio_tokens"] * AUDIO_OUT)


async def measured(world: World) -> dict[str, float]:
    """All of `/metrics`, by series."""
    sent = {"Authorization": f"Bearer {API_TOKEN}"}
    async with aiohttp.ClientSession() as http, http.get(f"{world.kav.url}/metrics", headers=sent) as answer:
        text = await answer.text()
    return {series: float(value) for series, value in re.findall(r"^(kav_.+) (\S+)$", text, re.MULTILINE)}


async def measured_once(world: World, flow: str) -> dict[str, float]:
    """The same when a call of the flow has been counted: that is done within a second of its end."""
    async with asyncio.timeout(WAIT_S):
        while not any(series.startswith("kav_calls_total") and flow in series for series in await measured(world)):
            await asyncio.sleep(0.1)
    return await measured(world)


async def test_what_a_call_cost_and_how_it_went_is_on_record_and_measured(world: World) -> None:
    call = await world.call(Judging([MADE_UP, LEAVES], long=1), to=LOCKSMITH)
    talk = Talk(call, await world.session_of(call))
    await call.until(lambda: talk.heard_ms_of(noise(1, LONG_MS)) >= 100)
    await call.say(SPEECH)  # over the greeting
    await call.until(lambda: talk.heard_ms_of(noise(2, 300)) == 300)
    await call.say(SPEECH)
    await call.until_reported()
    spent = cost_micro_usd(talk.session)
    found = await record(world, call.sid, lambda found: found.call.get("cost_micro_usd") == spent)
    assert spent > 1000
    assert (found.call["cost_is_partial"], found.call["barge_ins"]) == (0, 1)
    counted = await measured_once(world, "locksmith")
    assert counted['kav_cost_usd_total{flow="locksmith"}'] == pytest.approx(spent / 1_000_000)
    assert (counted["kav_barge_ins_total"], counted["kav_barge_in_seconds_count"]) == (1, 1)
    assert 0 < counted["kav_barge_in_seconds_sum"] < REACTION_S
    assert counted['kav_breaches_total{what="judge"}'] == 1
    assert counted["kav_hub_lag_seconds_count"] > 10, "ten times a second"
    assert counted["kav_hub_lag_seconds_sum"] < counted["kav_hub_lag_seconds_count"] * MEAN_LAG_S


async def unreported(world: World, call: Call) -> tuple[bool, dict[str, int]]:
    """Whether the call's cost is said to be partial, and how many responses each model has on record."""
    found = await record(world, call.sid, lambda found: found.whole and found.call["cost_is_partial"] is not None)
    _status, told = await world.kav.ask("GET", f"/calls/{call.sid}")
    return bool(found.call["cost_is_partial"]), {row["model"]: row["responses"] or 0 for row in told["usage"]}


class Lingering(Judging):
    """Sends what it says at once, and that it has said all a long time after."""

    def reply(self, request: ReplyRequest) -> Reply:
        """The same words."""
        return replace(super().reply(request), done_after_s=30.0)


async def test_a_response_that_the_caller_cuts_short_by_hanging_up_leaves_a_cost_that_is_not_the_whole(
    world: World,
) -> None:
    call = await world.call(Lingering([]), to=LOCKSMITH)
    await call.until(lambda: call.heard_ms >= 200)
    await call.hang_up()
    assert await unreported(world, call) == (True, {"unreported": 1})


async def test_a_model_that_does_not_tell_what_it_took_leaves_a_cost_that_is_not_the_whole(world: World) -> None:
    call = await world.call(Judging([]), faults=[Faults(tells_no_usage=True)], to=LOCKSMITH)
    session = await world.session_of(call)
    await call.until(lambda: call.heard_ms >= 300)
    await call.say(SPEECH)
    await session.wait_for("conversation.item.input_audio_transcription.completed")
    await call.until(lambda: len(session.journal.of("response.done")) >= 3)
    await call.until_quiet()
    await call.hang_up()
    assert await unreported(world, call) == (True, {"unreported": 4})

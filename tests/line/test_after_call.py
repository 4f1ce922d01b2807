"""A whole call and what comes after it: recorded as announced, summed up, told once, measured, and logged in JSON."""

import asyncio
import json
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from realtime_prompt_builder import load_languages, load_phrases
from rehearsal.kav import API_TOKEN
from rehearsal.model import CallTool, Faults
from rehearsal.twilio import Call
from rehearsal.world import World
from tests.after_call.receivers import Mailbox, Received, http_receiver, mail_receiver, summing_up
from tests.console.browser import PASSWORD, Operator
from tests.line.listening import SPEECH, Talk, noise
from tests.line.test_conversation import Judging, orders

BAKERY, OWNER = "+97231110042", "+972509876543"
FLOW = f"""\
id: bakery
business: המאפייה
numbers: ["{BAKERY}"]
languages: [he]
greeting: שלום, מדברת הנציגה הדיגיטלית.
closing: תודה, להתראות.
steps:
  - id: bread
    ask: איזה לחם?
owner:
  sms: "{OWNER}"
  email: owner@example.com
recording:
  announce: השיחה מוקלטת.
"""
SUMMARY = {"summary": "ביקשו לחם שחור.", "name": None, "phone": None, "reason": "לחם", "urgency": "low"}
METRICS_TOKEN, HOOK_SECRET = "a-token-of-the-monitor", "a-secret-of-the-webhook"
WAIT_S = 15.0
THINKS_S, CLOCKS_APART_S = 5.0, 3.0
"""Both count from the stream's start, each as it saw that, on a machine that is busy; whoever counts what sounded
instead is behind by what the caller thought."""


@dataclass
class Told:
    """Whoever is told of a call."""

    model: Received
    mailbox: Mailbox
    hook: Received


@pytest.fixture(scope="module")
def told() -> Iterator[Told]:
    with http_receiver(summing_up(SUMMARY)) as model, mail_receiver() as mailbox, http_receiver() as hook:
        yield Told(model, mailbox, hook)


@pytest.fixture(scope="module")
async def world(told: Told, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    flows = tmp_path_factory.mktemp("flows")
    (flows / "bakery.yaml").write_text(FLOW, encoding="utf-8")
    settings = {
        "KAV_FLOWS": str(flows),
        "OPENAI_BASE_URL": f"{told.model.url}/v1",
        "SMTP_URL": told.mailbox.url,
        "KAV_WEBHOOK_URL": told.hook.url,
        "KAV_WEBHOOK_SECRET": HOOK_SECRET,
        "KAV_METRICS_TOKEN": METRICS_TOKEN,
        "KAV_CONSOLE_PASSWORD": PASSWORD,
        "LOG_FORMAT": "json",
        "VAD_SILENCE_MS": "200",
        "MEDIA_SILENCE_S": "3",
        "SILENCE_ASK_S": "60",
        "SILENCE_CLOSE_S": "90",
    }
    async with World(settings) as world:
        yield world
        assert world.model.violations == [], "Kav broke the model's rules"
        assert [notice for call in world.twilio.calls for notice in call.violations] == [], "Kav broke Twilio's rules"


@pytest.fixture(scope="module")
async def call(world: World) -> Call:
    """A caller who thinks, orders bread, talks over nothing, and hears the closing."""
    call = await world.call(Judging([CallTool("answer_step", {"value": "לחם שחור", "language": "he"})]), to=BAKERY)
    talk = Talk(call, await world.session_of(call))
    await call.until(lambda: talk.heard_ms_of(noise(1, 300)) == 300)
    await asyncio.sleep(THINKS_S)  # there is nothing to await: so long nobody speaks
    await call.say(SPEECH)
    await call.until(lambda: call.ended_at is not None)
    return call


async def soon(what: Callable[[], object]) -> None:
    """Wait until something has happened outside this loop. Raises TimeoutError."""
    until = time.monotonic() + WAIT_S
    while not what():
        if time.monotonic() > until:
            raise TimeoutError
        await asyncio.sleep(0.02)


def recorded(world: World, call: Call) -> list[tuple[str, str, int]]:
    """What stands in Kav's database of the call's recordings."""
    query = "SELECT recording_sid, status, channels FROM recordings WHERE call_sid = ?"
    with closing(sqlite3.connect(f"file:{world.kav.database}?mode=ro", uri=True)) as database:
        return database.execute(query, (call.sid,)).fetchall()


def heard_so_far_ms(world: World, call: Call) -> list[int]:
    """The marks of all the bot's turns, as they stand there."""
    query = "SELECT marks FROM turns WHERE call_sid = ? AND who = 'bot' ORDER BY number"
    with closing(sqlite3.connect(f"file:{world.kav.database}?mode=ro", uri=True)) as database:
        return [at_ms for (marks,) in database.execute(query, (call.sid,)) for at_ms in json.loads(marks or "[]")]


async def get(world: World, path: str, token: str = "", **headers: str) -> tuple[int, bytes]:
    sent = {"Authorization": f"Bearer {token}", **headers} if token else headers
    async with aiohttp.ClientSession() as http, http.get(world.kav.url + path, headers=sent) as answer:
        return answer.status, await answer.read()


async def test_the_owner_and_the_business_s_systems_are_told_once(world: World, call: Call, told: Told) -> None:
    await soon(lambda: world.twilio.rest.messages and told.mailbox.mails and told.hook.requests)
    (sms,), ((_, mail),), (hook,) = world.twilio.rest.messages, told.mailbox.mails, told.hook.bodies
    assert (sms.from_, sms.to) == (BAKERY, OWNER)
    for text in (sms.body, mail.get_content()):
        assert "ביקשו לחם שחור." in text
        assert "איזה לחם? לחם שחור" in text
    assert (hook["call_sid"], hook["end_reason"], hook["flow_done"]) == (call.sid, "goodbye", True)
    assert hook["answers"] == [{"step": "bread", "value": "לחם שחור", "unanswered": None}]
    assert hook["summary"] == "ביקשו לחם שחור."
    assert "bot:" in told.model.bodies[0]["input"]


async def test_the_caller_is_told_of_the_recording_before_anything_else(world: World, call: Call) -> None:
    assert call.verbs[:2] == ["Start", "Connect"]
    asked = next(asked for asked in world.twilio.asked if asked.url.endswith("/twilio/voice"))
    assert 'channels="dual"' in asked.body
    assert "השיחה מוקלטת. שלום" in orders(Talk(call, await world.session_of(call)))[0]


async def test_the_recording_is_on_record_and_only_the_operator_hears_it(world: World, call: Call) -> None:
    (recording,) = call.recordings
    await soon(lambda: recorded(world, call) == [(recording, "completed", 2)])
    path = f"/recordings/{recording}"
    assert (await get(world, path))[0] == 401
    status, sound = await get(world, path, API_TOKEN)
    assert (status, len(sound)) == (200, 8000)
    status, sound = await get(world, path, API_TOKEN, Range="bytes=100-199")
    assert (status, len(sound)) == (206, 100)
    assert (await get(world, "/recordings/RE" + "0" * 32, API_TOKEN))[0] == 404
    assert (await get(world, "/recordings/..%2f..%2fAccounts", API_TOKEN))[0] == 404


async def test_when_the_caller_had_heard_so_far_is_on_record_by_the_clock_of_twilio(world: World, call: Call) -> None:
    began_at, echoed = call.stream.started_at or 0.0, call.marks_echoed
    await soon(lambda: len(heard_so_far_ms(world, call)) == len(echoed) > 0)
    for at_ms, (echoed_at, _name) in zip(heard_so_far_ms(world, call), echoed, strict=True):
        assert abs(at_ms / 1000 - (echoed_at - began_at)) < CLOCKS_APART_S


async def test_whoever_is_logged_in_hears_the_recording_on_the_call_s_page(world: World, call: Call) -> None:
    await soon(lambda: recorded(world, call))
    async with Operator(world.kav.url) as operator:
        async with operator.get(f"/console/calls/{call.sid}") as answer:
            (path,) = re.findall(r'<audio [^>]*src="([^"]+)"', await answer.text())
        async with operator.get(path) as answer:
            assert (answer.status, answer.content_type, len(await answer.read())) == (200, "audio/mpeg", 8000)
        async with operator.get(path, Range="bytes=100-199") as answer:
            assert (answer.status, len(await answer.read())) == (206, 100)
    assert b"audio" not in (await get(world, path))[1], "a stranger gets the page on which to log in"


GAUGES = ("outbox_bytes", "records_waiting", "live_streams", 'live_calls{state="streaming"}')


async def metrics(world: World) -> list[str]:
    status, body = await get(world, "/metrics", METRICS_TOKEN)
    assert status == 200
    return body.decode().splitlines()


async def test_metrics_tell_of_the_call_to_whoever_has_the_token(world: World, call: Call, told: Told) -> None:
    await soon(lambda: told.hook.requests)
    assert (await get(world, "/metrics"))[0] == 401
    assert (await get(world, "/metrics", "wrong"))[0] == 401
    assert (await get(world, "/healthz", METRICS_TOKEN))[1].find(b"descriptors") == -1
    lines = await metrics(world)
    assert 'kav_calls_total{direction="inbound",end_reason="goodbye",flow="bakery"} 1.0' in lines
    assert 'kav_tool_calls_total{tool="answer_step"} 1.0' in lines
    for histogram in ("socket_ghost", "line_ghost", "first_word", "turn_latency", "judge"):
        assert f"kav_{histogram}_seconds_count 1.0" in lines, histogram
    at_rest = [f"kav_{gauge} 0.0" for gauge in GAUGES]
    until = time.monotonic() + WAIT_S
    while missing := [gauge for gauge in at_rest if gauge not in lines]:
        assert time.monotonic() < until, missing
        await asyncio.sleep(0.1)
        lines = await metrics(world)
    assert not [line for line in lines if call.sid in line]
    assert (await get(world, "/metrics", API_TOKEN))[0] == 200


async def test_the_log_is_json_names_the_call_and_holds_no_number_no_secret_and_no_word(
    world: World, call: Call, told: Told
) -> None:
    await soon(lambda: told.hook.requests and "webhook sent" in world.kav.log(1_000_000))
    text = world.kav.log(1_000_000)
    lines = [json.loads(line) for line in text.splitlines()]
    ours = [line for line in lines if line["call_sid"] == call.sid]
    assert any(line["message"].startswith("stream over: goodbye") for line in ours)
    assert {line["message"] for line in ours} >= {
        f"after the call: {task} sent" for task in ("sms", "email", "webhook")
    }
    for never in (call.order.from_, OWNER, BAKERY, "לחם שחור", METRICS_TOKEN, HOOK_SECRET, "secret-word"):
        assert never not in text, never


@pytest.mark.parametrize(
    ("caller", "words", "tells"), [("", "apology_called_back", "unserved"), ("anonymous", "apology", "unserved_hidden")]
)
async def test_a_caller_who_could_not_be_served_is_called_back_and_told_so_if_that_is_true(
    tmp_path: Path, caller: str, words: str, tells: str
) -> None:
    (tmp_path / "bakery.yaml").write_text(FLOW, encoding="utf-8")
    with mail_receiver() as mailbox, http_receiver() as hook:
        settings = {"KAV_FLOWS": str(tmp_path), "SMTP_URL": mailbox.url, "MODEL_RECONNECTS": "0", "DRAIN_SECONDS": "0"}
        settings |= {"KAV_WEBHOOK_URL": hook.url, "KAV_WEBHOOK_SECRET": HOOK_SECRET}
        async with World(settings, faults=Faults(refuse_status=503)) as failing:
            call = await failing.call(to=BAKERY, from_=caller)
            await call.until_reported(20)
            assert call.said[-1] == load_phrases().text(words, "he")
            await soon(lambda: failing.twilio.rest.messages and mailbox.mails and hook.bodies)
            (sms,), ((_, mail),) = failing.twilio.rest.messages, mailbox.mails
            told = load_languages()["he"]["notice"][tells]
            assert told in sms.body
            assert told in mail.get_content()
            assert (call.order.from_ in sms.body) is (caller == "")
            assert (hook.bodies[0]["unserved"], hook.bodies[0]["end_reason"]) == (True, "model_failed")

"""Guards one business from another in the same installation: words, tools and tokens keep to their own call."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest

from kav.flow_files import load_flows
from rehearsal.model import CallTool, ModelSession, Reply, ReplyRequest
from rehearsal.twilio.signing import signed_headers
from rehearsal.websocket import connect
from rehearsal.world import AUTH_TOKEN, World
from tests.line.asking import about, ask
from tests.line.ending import fin
from tests.line.listening import SPEECH, Talk, noise
from tests.line.test_own_tools import Asking

FLOWS = {flow.id: flow for flow in load_flows().flows}
CLINIC, LOCKSMITH = FLOWS["clinic"], FLOWS["locksmith"]


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """One Kav that answers for several businesses."""
    async with World({"VAD_SILENCE_MS": "200", "DRAIN_SECONDS": "0"}) as world:
        yield world
        assert world.model.violations == []


class Stealing(Asking):
    """A model of the locksmith's that was talked into the clinic's tool, and calls it wherever it may call any."""

    def reply(self, request: ReplyRequest) -> Reply:
        """The clinic's tool in place of a judgement."""
        if request.tool_choice == "required":
            self.offered.append([tool["name"] for tool in request.settings["tools"]])
            return Reply([CallTool("free_slots", self.arguments)], first_after_s=0.02)
        return super().reply(request)


async def greeted(world: World, script: Asking, to: str) -> Talk:
    """A call whose greeting was heard."""
    call = await world.call(script, to=to)
    talk = Talk(call, await world.session_of(call))
    await call.until(lambda: talk.heard_ms_of(noise(1, 300)) == 300)
    return talk


def all_told(session: ModelSession) -> str:
    """Everything but sound that Kav has ever said to the model of a call."""
    events = (event for _, event in session.received if event["type"] != "input_audio_buffer.append")
    return "\n".join(json.dumps(event, ensure_ascii=False) for event in events)


async def test_no_model_hears_a_word_of_another_business(world: World) -> None:
    scripts = (Asking(), Asking())
    world.tools.offer("/api/free-slots?day=2026-11-24", {"free": ["10:00"]})
    clinic, locksmith = await asyncio.gather(
        greeted(world, scripts[0], CLINIC.numbers[0]), greeted(world, scripts[1], LOCKSMITH.numbers[0])
    )
    for talk in (clinic, locksmith):
        await talk.call.say(SPEECH)
    await asyncio.gather(*(talk.session.wait_for("response.done", 3) for talk in (clinic, locksmith)))
    told = {CLINIC.id: all_told(clinic.session), LOCKSMITH.id: all_told(locksmith.session)}
    for own, other in ((CLINIC, LOCKSMITH), (LOCKSMITH, CLINIC)):
        assert own.business in told[own.id]
        private = [other.business, *(text for step in other.steps for text in step.ask.values())]
        private += [line.strip() for line in other.facts.splitlines() if len(line.strip()) > 20]
        private += [tool.name for tool in other.tools]
        private += [other.transfer.to] if other.transfer is not None else []
        common = {text for step in own.steps for text in step.ask.values()}
        assert not [text for text in private if text not in common and text in told[own.id]]
    for talk in (clinic, locksmith):
        await talk.call.hang_up()


async def test_a_model_cannot_call_another_business_s_tool(world: World) -> None:
    script = Stealing({"day": "2026-12-31"})
    talk = await greeted(world, script, LOCKSMITH.numbers[0])
    await talk.call.say(SPEECH)
    await talk.session.wait_for("response.done", 3)
    assert "free_slots" not in script.offered[0]
    assert "there is no tool free_slots" in all_told(talk.session)
    assert world.tools.times("/api/free-slots?day=2026-12-31") == 0
    await talk.call.hang_up()


async def test_the_token_of_one_call_opens_no_stream_of_another(world: World) -> None:
    tokens = {}
    for call_sid, flow in (("CA" + "a" * 32, CLINIC), ("CA" + "b" * 32, LOCKSMITH)):
        form = about(call_sid, "ringing", From="+972501112233", To=flow.numbers[0])
        body = (await ask(world, "/twilio/voice", form)).body
        tokens[call_sid] = body.partition('name="token" value="')[2].partition('"')[0]
    assert len(set(tokens.values()) - {""}) == 2
    url = world.kav.url.replace("http", "ws", 1) + "/twilio/media"
    peer, since = await connect(url, signed_headers(AUTH_TOKEN, url)), time.monotonic()
    start = {"accountSid": world.twilio.account_sid, "callSid": "CA" + "a" * 32, "streamSid": "MZ" + "1" * 32}
    swapped = {"token": tokens["CA" + "b" * 32], "direction": "inbound"}
    peer.send_text(json.dumps({"event": "start", "start": {**start, "customParameters": swapped}}))
    await fin(peer, since)
    assert peer.close_code == 1008
    for call_sid in tokens:
        await ask(world, "/twilio/status", about(call_sid, "completed"))


async def test_a_number_that_no_business_has_is_answered_by_none_of_them() -> None:
    async with World({"KAV_DEFAULT_NUMBERS": "", "DRAIN_SECONDS": "0"}) as strict:
        call = await strict.call(to="+97239999999")
        await call.until_reported()
        assert (call.verbs, strict.sessions_of(call)) == (["Reject"], [])

"""Guards what was signed once and is sent again: no call begins, none goes on, nothing that is written changes."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest

from rehearsal.twilio.signing import signed_headers
from rehearsal.websocket import Peer, connect
from rehearsal.world import AUTH_TOKEN, World
from tests.line.asking import about, ask
from tests.line.ending import fin, read, record, talking, until_healthy


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """A Kav that soon forgets calls that are over, so that a replay meets no entry."""
    async with World({"ENTRY_TTL_S": "0.2", "DRAIN_SECONDS": "0"}) as world:
        yield world
        assert "Traceback" not in world.kav.log(1_000_000)


async def media(world: World) -> Peer:
    """A media socket with the signature that every one of them has, for it is over the URL alone."""
    url = world.kav.url.replace("http", "ws", 1) + "/twilio/media"
    return await connect(url, signed_headers(AUTH_TOKEN, url))


async def test_the_voice_webhook_of_a_call_that_is_long_over_opens_nothing(world: World) -> None:
    """Else whoever has kept it would get a fresh token, and with the socket's signature talk at the owner's cost."""
    talk = await talking(world)
    kept = next(asked for asked in talk.world.twilio.asked if asked.url.endswith("/twilio/voice"))
    await talk.call.hang_up()
    await talk.record()
    await until_healthy(world, lambda figures: figures["entries"] == 0)
    before = len(world.model.sessions)
    again = await ask(world, "/twilio/voice", kept.form)
    assert (again.status, "<Reject" in again.body, "token" in again.body) == (200, True, False)
    assert (await world.kav.health())["entries"] == 0
    assert len(world.model.sessions) == before


async def test_a_media_socket_s_signature_alone_opens_no_stream(world: World) -> None:
    talk = await talking(world)
    before = len(world.model.sessions)
    for token in ("", "x" * 32, "\x00"):
        peer, since = await media(world), time.monotonic()
        said = {"callSid": talk.call.sid, "streamSid": "MZ" + "1" * 32, "accountSid": world.twilio.account_sid}
        peer.send_text(json.dumps({"event": "start", "start": {**said, "customParameters": {"token": token}}}))
        await fin(peer, since)
        assert peer.close_code == 1008
    assert len(world.model.sessions) == before
    await talk.call.hang_up()


async def test_a_status_that_is_sent_again_changes_nothing_that_is_written(world: World) -> None:
    talk = await talking(world)
    await talk.call.hang_up()
    first = (await record(world, talk.call.sid, lambda found: found.whole and bool(found.call.get("status")))).call
    for status, seconds in (("completed", "1"), ("failed", "0"), ("in-progress", "")):
        form = about(talk.call.sid, status, CallDuration=seconds)
        assert (await ask(world, "/twilio/status", form)).status == 204
    kept = read(world, talk.call.sid).call
    assert {name: kept[name] for name in ("status", "duration_s", "direction", "end_reason")} == {
        name: first[name] for name in ("status", "duration_s", "direction", "end_reason")
    }


async def test_webhooks_that_follow_a_call_that_is_over_end_the_line(world: World) -> None:
    talk = await talking(world)
    await talk.call.hang_up()
    await talk.record()
    await until_healthy(world, lambda figures: figures["entries"] == 0)
    before = len(world.model.sessions)
    form = about(talk.call.sid, "in-progress", DialCallStatus="no-answer", AnsweredBy="human")
    answers = await asyncio.gather(*(ask(world, f"/twilio/{hook}", form) for hook in ("after-stream", "dial-result")))
    assert [("<Hangup" in answer.body, "<Connect" in answer.body) for answer in answers] == [(True, False)] * 2
    assert len(world.model.sessions) == before

"""Who does not belong to a call gets no stream of it, costs no model session, and disturbs nobody."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping

import aiohttp
import pytest

from realtime_prompt_builder import load_phrases
from rehearsal.twilio import CallScript, Line
from rehearsal.twilio.signing import SIGNATURE_HEADER, signature
from rehearsal.websocket import Peer, Refused, connect
from rehearsal.world import AUTH_TOKEN, World
from tests.line.asking import about, ask
from tests.line.ending import fin, talking, until_healthy

APOLOGY, BUSY = (load_phrases().text(phrase, "he") for phrase in ("apology", "busy"))
START_TIMEOUT_S = 10.0


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """Everything as an operator runs it."""
    async with World({"DRAIN_SECONDS": "0"}) as world:
        yield world
        assert world.model.violations == []
        assert "Traceback" not in world.kav.log(1_000_000)


@pytest.fixture(scope="module", autouse=True)
async def speechless(world: World) -> list[Peer]:
    """Three sockets that begin to keep Kav waiting while all else here happens: for nothing at all, for good."""
    peers = await asyncio.gather(*(upgrade(world, signed(world)) for _ in range(3)))
    peers[1].send_text('{"event":"connected"}')
    peers[1].send_text('{"event":"media","media":{"payload":"////"}}')
    peers[2].send_text('{"event":"start","start":{"callSid":"CA1","streamSid":"MZ1","customParameters":{"token":7}}}')
    return peers


def media_url(world: World) -> str:
    return world.kav.url.replace("http", "ws", 1) + "/twilio/media"


async def upgrade(world: World, headers: Mapping[str, str], query: str = "") -> Peer:
    return await connect(media_url(world) + query, headers)


def signed(world: World, url: str = "", token: str = AUTH_TOKEN) -> dict[str, str]:
    return {SIGNATURE_HEADER: signature(token, url or media_url(world))}


# A second stream for a live call


async def test_a_second_stream_is_refused_while_the_first_goes_on(world: World) -> None:
    talk = await talking(world)
    stolen = await talk.call.second_stream()
    empty = await talk.call.second_stream({})
    guessed = await talk.call.second_stream({"token": "x" * 32, "direction": "inbound"})
    for intruder in (stolen, empty, guessed):
        await fin(intruder.peer, time.monotonic())
        assert (intruder.peer.close_code, intruder.received) == (1008, [])
    heard = talk.call.heard_ms
    await talk.call.until_heard(heard + 200)
    assert len(world.sessions_of(talk.call)) == 1
    await talk.call.hang_up()
    found = await talk.record()
    assert (len(found.streams), talk.finalisations()) == (1, 1)


async def test_a_token_is_good_for_one_stream_even_when_that_is_over(world: World) -> None:
    talk = await talking(world, line=CallScript(asks_after_stream=False))
    talk.call.drop("reset")
    await fin(talk.session.peer, time.monotonic())
    again = await talk.call.second_stream()
    await fin(again.peer, time.monotonic())
    assert (again.peer.close_code, len(world.sessions_of(talk.call))) == (1008, 1)
    await talk.call.hang_up()


# Streams that are not what the call's webhook arranged


@pytest.mark.parametrize(
    "line",
    [
        Line(parameters={"token": "wrong", "direction": "inbound"}),
        Line(parameters={"token": "קו", "direction": "inbound"}),
        Line(parameters={}),
        Line(start={"accountSid": "AC" + "f" * 32}),
        Line(start={"callSid": "CA" + "f" * 32}),
    ],
    ids=["wrong_token", "odd_token", "no_token", "foreign_account", "foreign_call"],
)
async def test_a_stream_that_says_who_it_is_and_is_not_is_closed(world: World, line: Line) -> None:
    call = await world.call(line=CallScript(line=line))
    started = await call.until_streaming()
    await fin(call.socket, started)
    assert call.streams[0].received == []
    await call.until(lambda: bool(call.said))
    assert call.said == [APOLOGY], "the fresh stream was no better"
    assert len(world.sessions_of(call)) <= 1
    await call.hang_up()


async def test_a_stream_of_the_other_direction_is_refused(world: World) -> None:
    """The direction is the voice webhook's; a stream that says otherwise belongs to another call."""
    call = await world.call(line=CallScript(line=Line(connect_after_s=30)))
    form = about(call.sid, "ringing", From=call.order.from_, To=call.order.to)
    token = (await ask(world, "/twilio/voice", form)).body.partition('name="token" value="')[2].partition('"')[0]
    peer = await upgrade(world, signed(world))
    start: dict[str, object] = {"accountSid": form["AccountSid"], "callSid": call.sid, "streamSid": "MZ" + "1" * 32}
    start["customParameters"] = {"token": token, "direction": "outbound"}
    since = time.monotonic()
    peer.send_text(json.dumps({"event": "start", "start": start}))
    await fin(peer, since)
    await world.session_of(call)
    assert (token != "", peer.close_code, len(world.sessions_of(call))) == (True, 1008, 1)
    await call.hang_up()


# The signature


async def test_an_upgrade_without_twilios_signature_is_refused(world: World) -> None:
    https = media_url(world).replace("ws://", "https://")
    wrong = [
        {},
        {SIGNATURE_HEADER: ""},
        {SIGNATURE_HEADER: "קו".encode().decode("latin-1")},
        signed(world, token="another-token"),
        signed(world, url=https),
        signed(world, url=media_url(world) + "?a=1"),
    ]
    before = len(world.model.sessions)
    for headers in wrong:
        with pytest.raises(Refused) as refused:
            await upgrade(world, headers)
        assert refused.value.status == 403
    with pytest.raises(Refused) as refused:
        await upgrade(world, signed(world, url=media_url(world) + "?a=1"), query="?a=1")
    assert refused.value.status == 403
    assert len(world.model.sessions) == before


async def test_a_webhook_without_twilios_signature_has_no_effect(world: World) -> None:
    talk = await talking(world)
    form = about(talk.call.sid, "completed")
    url = world.kav.url + "/twilio/status"
    https = url.replace("http://", "https://")
    for forged in (None, "", "x", signature("another", url, form), signature(AUTH_TOKEN, https, form)):
        headers = {} if forged is None else {SIGNATURE_HEADER: forged}
        assert (await ask(world, "/twilio/status", form, headers=headers)).status == 403
    replayed = {SIGNATURE_HEADER: signature(AUTH_TOKEN, url, about(talk.call.sid, "in-progress"))}
    assert (await ask(world, "/twilio/status", form, headers=replayed)).status == 403
    heard = talk.call.heard_ms
    await talk.call.until_heard(heard + 100)
    assert talk.finalisations() == 0
    await talk.call.hang_up()


async def test_a_plain_request_to_the_media_socket_is_no_upgrade(world: World) -> None:
    async with aiohttp.ClientSession() as http:
        async with http.get(world.kav.url + "/twilio/media", headers=signed(world)) as answer:
            assert 400 <= answer.status < 500
        async with http.get(world.kav.url + "/twilio/status") as answer:
            assert answer.status in (403, 405)


# Capacity


async def test_beyond_capacity_a_caller_hears_busy_and_no_model_is_opened() -> None:
    async with World({"MAX_CALLS": "2", "DRAIN_SECONDS": "0"}) as small:
        talks = await asyncio.gather(talking(small), talking(small))
        third = await small.call()
        await third.until_reported()
        assert (third.said, third.verbs, small.sessions_of(third)) == ([BUSY], ["Say", "Hangup"], [])

        with pytest.raises(Refused) as refused:
            await upgrade(small, signed(small))
        assert refused.value.status == 503
        await talks[0].call.hang_up()
        await until_healthy(small, lambda figures: figures["sockets"] == 1)
        fourth = await talking(small)
        assert fourth.call.status == "in-progress"
        for talk in (talks[1], fourth):
            await talk.call.hang_up()


# No start


async def test_a_socket_that_never_says_a_proper_start_is_closed_and_costs_nothing(
    world: World, speechless: list[Peer]
) -> None:
    for peer in speechless:
        assert peer.opened_at is not None
        await fin(peer, peer.opened_at, START_TIMEOUT_S + 4)
        assert peer.eof_at is not None
        assert peer.eof_at - peer.opened_at >= START_TIMEOUT_S - 3
    assert [peer.close_code for peer in speechless] == [1008] * 3
    assert len(world.model.sessions) == sum(len(world.sessions_of(call)) for call in world.twilio.calls)

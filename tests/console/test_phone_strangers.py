"""Whoever is no operator gets no browser phone: no ticket, no socket, no words; operators get what there is."""

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from rehearsal.websocket import Peer, Refused, connect
from rehearsal.world import World
from tests.console.browser import BROWSER, PASSWORD, SOCKET, Operator, called, open_stream

POLICY_VIOLATION = 1008


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """A console behind a telephone number, with room for three."""
    async with World({"KAV_CONSOLE_PASSWORD": PASSWORD, "MAX_CALLS": "3", "DRAIN_SECONDS": "0"}) as world:
        yield world


@pytest.fixture
async def operator(world: World) -> AsyncIterator[Operator]:
    async with Operator(world.kav.url) as operator:
        yield operator


async def socket(world: World, headers: dict[str, str]) -> Peer:
    return await connect("ws" + world.kav.url.removeprefix("http") + SOCKET, headers)


async def closed(peer: Peer) -> int | None:
    """The code with which Kav closes the socket."""
    async with asyncio.timeout(5):
        await peer.gone()
    return peer.close_code


@pytest.mark.parametrize("without", ["Cookie", "Origin"])
async def test_the_upgrade_is_refused_before_it_happens(world: World, operator: Operator, without: str) -> None:
    headers = {name: value for name, value in operator.headers.items() if name != without}
    with pytest.raises(Refused) as refused:
        await socket(world, headers)
    assert refused.value.status == 403


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null", "http://127.0.0.1:1"])
async def test_a_page_of_somebody_elses_gets_no_socket(world: World, operator: Operator, origin: str) -> None:
    with pytest.raises(Refused) as refused:
        await socket(world, {**operator.headers, "Origin": origin})
    assert refused.value.status == 403


async def test_who_has_logged_out_gets_no_socket_with_the_old_cookie(world: World) -> None:
    async with Operator(world.kav.url) as operator:
        headers = operator.headers
        async with operator.post("/console/logout"):
            pass
    with pytest.raises(Refused) as refused:
        await socket(world, headers)
    assert refused.value.status == 403


@pytest.mark.parametrize(("method", "path"), [("POST", "/console/phone/calls"), ("GET", "/console/phone/calls/CAx")])
async def test_a_stranger_gets_neither_ticket_nor_words(world: World, method: str, path: str) -> None:
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, world.kav.url + path, data={"flow": "default"}, allow_redirects=False) as answer,
    ):
        assert answer.status in (303, 403)  # to the login, or nowhere


async def test_a_form_without_its_token_places_no_call(operator: Operator) -> None:
    async with operator.post("/console/phone/calls", flow="default", csrf="forged") as answer:
        assert answer.status == 403


async def test_a_ticket_is_good_for_one_stream(world: World, operator: Operator) -> None:
    page = await called(world, operator)
    again = await open_stream(operator, page.ticket)
    assert await closed(again.peer) == POLICY_VIOLATION
    assert (await page.state())["ended"] is False
    page.stream.hang_up()
    await page.over()


@pytest.mark.parametrize("wrong", [{"token": "guessed"}, {"direction": "outbound"}, {"callSid": "CAother"}])
async def test_a_ticket_that_is_not_whole_opens_nothing(
    world: World, operator: Operator, wrong: dict[str, str]
) -> None:
    world.expect(BROWSER)
    ticket = await operator.ticket()
    stream = await open_stream(operator, ticket | wrong)
    assert await closed(stream.peer) == POLICY_VIOLATION
    right = await open_stream(operator, ticket)
    right.hang_up()


async def test_a_telephone_calls_token_opens_no_page_and_its_words_are_not_told_there(
    world: World, operator: Operator
) -> None:
    call = await world.connected_call()
    async with operator.get(f"/console/phone/calls/{call.sid}") as answer:
        assert answer.status == 404
    await call.hang_up()


async def test_a_pages_ticket_opens_no_socket_of_twilios(world: World, operator: Operator) -> None:
    call = await world.connected_call()
    world.expect(BROWSER)
    ticket = await operator.ticket()
    foreign = await call.second_stream({"token": ticket["token"], "direction": "inbound"})
    assert await closed(foreign.peer) == POLICY_VIOLATION
    stream = await open_stream(operator, ticket)
    stream.hang_up()
    await call.hang_up()


@pytest.mark.parametrize(
    "form", [{"flow": "no such flow"}, {"flow": "default", "number": "call me"}, {"flow": "sales", "number": ""}]
)
async def test_what_cannot_be_called_is_said_in_words(operator: Operator, form: dict[str, str]) -> None:
    async with operator.post("/console/phone/calls", **form) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]


async def test_a_message_as_long_as_nobody_types_ends_the_call(world: World, operator: Operator) -> None:
    page = await called(world, operator)
    page.stream.peer.send_text(json.dumps({"event": "text", "streamSid": page.stream.sid, "text": "x" * 300_000}))
    await closed(page.stream.peer)
    await page.over()


async def test_there_is_no_more_room_for_pages_than_for_calls(world: World, operator: Operator) -> None:
    world.expect(BROWSER)
    tickets = []
    for _ in range(4):
        async with operator.post("/console/phone/calls", flow="default") as answer:
            tickets.append((answer.status, await answer.json()))
    assert [status for status, _ in tickets][-1] == 503
    for status, ticket in tickets:
        if status == 201:
            stream = await open_stream(operator, ticket)
            stream.hang_up()

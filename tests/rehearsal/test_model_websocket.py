"""Guards the misbehaving WebSocket endpoint: what it does on purpose, and that it sees exactly what its peer did."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.http11 import Request

from rehearsal.websocket import Gone, Peer, Refused, connect, serve

WAIT_S = 5


@asynccontextmanager
async def pair(delay_s: float = 0) -> AsyncIterator[tuple[Peer, Peer]]:
    """Yield both ends of one connection: (client, server)."""
    arrived: asyncio.Queue[Peer] = asyncio.Queue()
    server = await serve(arrived.put, delay_s=delay_s)
    client = await connect(f"ws://127.0.0.1:{server.port}/path")
    try:
        yield client, await asyncio.wait_for(arrived.get(), WAIT_S)
    finally:
        client.abort()
        await server.close()


async def within(awaitable: Awaitable[None], seconds: float = WAIT_S) -> None:
    await asyncio.wait_for(awaitable, seconds)


async def test_text_and_binary_arrive_as_str_and_bytes_in_order() -> None:
    async with pair() as (client, server):
        client.send_text("שלום")
        client.send_binary(b"\x00\xff")
        client.send_text(b"x" * 3_000_000)

        assert await server.receive() == "שלום"
        assert await server.receive() == b"\x00\xff"
        assert len(await server.receive()) == 3_000_000


async def test_a_callback_gets_what_came_before_it_and_each_later_message() -> None:
    async with pair() as (client, server):
        server.send_text("early")
        assert await client.receive() == "early"
        server.send_text("waiting")
        got: asyncio.Queue[str | bytes] = asyncio.Queue()
        client.deliver_to(lambda message, _at: got.put_nowait(message))
        server.send_text("late")

        assert [await got.get(), await got.get()] == ["waiting", "late"]


async def test_headers_and_path_reach_the_server() -> None:
    asked: list[Request] = []

    async def handler(peer: Peer) -> None:
        peer.close(1000)

    server = await serve(handler, process_request=asked.append)
    client = await connect(f"ws://127.0.0.1:{server.port}/a?b=c", headers={"Host": "kav.example", "X-Sign": "s"})
    await within(client.gone())
    await server.close()

    assert (asked[0].path, asked[0].headers["Host"], asked[0].headers["X-Sign"]) == ("/a?b=c", "kav.example", "s")


@pytest.mark.parametrize("later", [False, True])
async def test_a_refusal_tells_status_and_body(later: bool) -> None:
    async def refuse_later(_request: Request) -> tuple[int, str]:
        return 403, "not you"

    def refuse(_request: Request) -> tuple[int, str]:
        return 403, "not you"

    process: Callable[[Request], tuple[int, str] | Awaitable[tuple[int, str]]] = refuse_later if later else refuse
    server = await serve(lambda peer: peer.gone(), process_request=process)
    with pytest.raises(Refused) as refused:
        await connect(f"ws://127.0.0.1:{server.port}/")
    await server.close()

    assert (refused.value.status, refused.value.body) == (403, "not you")


async def test_an_upgrade_that_is_never_answered_times_out() -> None:
    async def never(_request: Request) -> None:
        await asyncio.Event().wait()

    server = await serve(lambda peer: peer.gone(), process_request=never)
    with pytest.raises(TimeoutError):
        await connect(f"ws://127.0.0.1:{server.port}/", timeout_s=0.1)
    await server.close()


async def test_a_close_is_answered_and_both_ends_see_code_frame_and_fin() -> None:
    async with pair() as (client, server):
        before = time.monotonic()
        client.close(1001, "bye")
        await within(server.gone())
        await within(client.closed())
        await within(server.closed())

        assert (server.close_code, server.close_reason, client.close_code) == (1001, "bye", 1001)
        assert server.close_frame_at is not None
        assert server.eof_at is not None
        assert client.eof_at is not None
        assert before <= server.close_frame_at <= server.eof_at <= time.monotonic()
        assert server.reset_at is client.reset_at is None
        with pytest.raises(Gone):
            await server.receive()
        assert not client.send_text("after")


async def test_a_server_that_closes_first_sees_the_clients_fin() -> None:
    async with pair() as (client, server):
        server.close(1000)
        await within(server.gone())

        assert client.close_frame_at is not None
        assert server.close_code == 1000
        assert server.eof_at is not None


async def test_reset_is_seen_as_a_reset_and_never_as_fin() -> None:
    async with pair() as (client, server):
        client.reset()
        await within(server.gone())

        assert server.reset_at is not None
        assert server.eof_at is None


async def test_drop_is_fin_without_a_close_frame() -> None:
    async with pair() as (client, server):
        client.drop()
        await within(server.gone())

        assert server.eof_at is not None
        assert server.close_frame_at is server.reset_at is None
        await within(client.gone())


async def test_one_that_never_answers_neither_echoes_nor_closes_and_still_sees_both() -> None:
    async with pair() as (client, server):
        server.answers_close = False
        client.close(1000)
        client.drop()
        await within(server.gone())

        assert server.close_frame_at is not None
        assert server.eof_at is not None
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.gone(), 0.2)
        assert server.send_text("still here")
        assert await client.receive() == "still here"


@pytest.mark.parametrize("how", ["drop", "reset"])
async def test_a_vanished_peer_says_nothing_but_notices_the_others_end(how: str) -> None:
    async with pair() as (client, server):
        server.vanish()
        client.send_text("anyone there?")
        assert not server.send_text("no")
        getattr(client, how)()
        await within(server.gone())

        assert (server.eof_at is None) == (how == "reset")
        assert (server.reset_at is None) == (how == "drop")
        assert client.eof_at is None


async def test_a_paused_reader_holds_the_sender_back_and_loses_nothing() -> None:
    async with pair() as (client, server):
        server.pause_reading()
        for _ in range(64):
            client.send_text(b"x" * 1_000_000)
        assert client.unsent_bytes > 1_000_000
        server.resume_reading()

        assert sum([len(await server.receive()) for _ in range(64)]) == 64_000_000


async def test_a_network_delay_holds_in_both_directions_and_keeps_order() -> None:
    async with pair(delay_s=0.05) as (client, server):
        start = time.monotonic()
        client.send_text("one")
        client.send_text("two")
        assert [await server.receive(), await server.receive()] == ["one", "two"]
        there = time.monotonic()
        server.send_text("back")
        assert await client.receive() == "back"

        assert there - start >= 0.05
        assert time.monotonic() - there >= 0.05


async def test_closing_the_server_frees_every_descriptor() -> None:
    server = await serve(lambda peer: peer.gone())
    clients = [await connect(f"ws://127.0.0.1:{server.port}/") for _ in range(5)]
    await server.close()
    for client in clients:
        await within(client.gone())

    assert not server.peers

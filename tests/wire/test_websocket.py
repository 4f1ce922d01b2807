"""A WebSocket on a gevent socket: one writer, order kept, `clear` goes next, and a close that waits for nobody."""

import socket
import struct
import time

import gevent
import pytest
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

from kav.wire import websocket
from kav.wire.websocket import GOING_AWAY, LINGER_S, MAX_PONGS, Closed, WebSocket
from tests.wire.peers import WAIT_S, Peer, connected, fill, until

AT_ONCE_S = 3.0
"""Room for a machine that is busy; the tests let Kav linger far longer than that, so it still tells them apart."""
LONG_S = 60.0
SMALL = 8192


@pytest.fixture(autouse=True)
def a_long_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for the linger where nothing is to be waited for takes a minute."""
    monkeypatch.setattr(websocket, "LINGER_S", LONG_S)


def closes(ws: WebSocket, code: int = 1000) -> float:
    """Close and let go, as the reading greenlet does; return how long the FIN took."""
    began = time.monotonic()
    ws.close(code)
    ws.finish()
    assert ws.fin_at is not None
    return ws.fin_at - began


# Closing


@pytest.mark.parametrize("side", [Side.SERVER, Side.CLIENT])
def test_a_close_is_a_close_frame_and_then_fin(side: Side) -> None:
    with connected(side) as (ws, peer):
        closing = gevent.spawn(closes, ws, GOING_AWAY)
        peer.read_to_the_end()
        assert peer.close_code == GOING_AWAY
        peer.sock.close()
        assert closing.get(timeout=WAIT_S) < AT_ONCE_S


def test_a_peer_that_never_answers_gets_its_fin_at_once() -> None:
    with connected() as (ws, peer):
        closing = gevent.spawn(closes, ws)
        until(lambda: ws.fin_at is not None)
        peer.sock.close()
        assert closing.get(timeout=WAIT_S) < AT_ONCE_S


def test_a_peer_that_never_answers_is_not_waited_for_longer_than_the_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "LINGER_S", LINGER_S)
    with connected() as (ws, peer):
        began = time.monotonic()
        closes(ws)
        assert time.monotonic() - began < LINGER_S + AT_ONCE_S
        peer.read_to_the_end()
        assert peer.close_code == 1000


def test_a_peer_that_never_reads_gets_its_fin_at_once_and_frees_the_writer_that_was_stuck() -> None:
    with connected(buffer_bytes=SMALL) as (ws, peer):
        writer = fill(ws)
        closing = gevent.spawn(closes, ws)
        until(lambda: ws.fin_at is not None)
        writer.get(timeout=WAIT_S)
        peer.sock.close()
        assert closing.get(timeout=WAIT_S) < AT_ONCE_S


def test_unread_input_does_not_turn_the_close_into_a_reset() -> None:
    with connected() as (ws, peer):
        for _ in range(50):
            peer.send(b"x" * 1000)
        closing = gevent.spawn(closes, ws)
        peer.read_to_the_end()
        assert peer.close_code == 1000
        peer.sock.close()
        closing.get(timeout=WAIT_S)


def test_close_wakes_the_reader_at_once_though_the_peer_is_silent() -> None:
    with connected() as (ws, _peer):
        reader = gevent.spawn(pytest.raises, Closed, ws.receive)
        until(lambda: ws.reading_since is not None)
        ws.close()
        reader.get(timeout=WAIT_S)


def test_nothing_is_sent_or_received_after_a_close() -> None:
    with connected() as (ws, peer):
        ws.close()
        ws.send(b"late")
        ws.overtake(b"later", 1)
        ws.close()
        peer.read_to_the_end()
        assert peer.messages == []
        with pytest.raises(Closed):
            ws.receive()


def test_the_peers_close_is_answered() -> None:
    with connected() as (ws, peer):
        peer.close(1001)
        with pytest.raises(Closed, match="1001"):
            ws.receive()
        closing = gevent.spawn(ws.finish)
        peer.read_to_the_end()
        assert peer.close_code == 1001
        peer.sock.close()
        closing.get(timeout=WAIT_S)


@pytest.mark.parametrize("how", ["fin", "reset"])
def test_a_lost_connection_is_the_readers_news(how: str) -> None:
    with connected() as (ws, peer):
        if how == "reset":
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.sock.close()
        with pytest.raises(Closed, match="connection lost"):
            ws.receive()
        ws.send(b"nobody is there")


def test_a_write_that_fails_wakes_the_reader() -> None:
    with connected() as (ws, peer):
        reader = gevent.spawn(pytest.raises, Closed, ws.receive)
        until(lambda: ws.reading_since is not None)
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.sock.close()
        ws.send(b"nobody is there")
        reader.get(timeout=WAIT_S)


# Writing


@pytest.mark.parametrize("side", [Side.SERVER, Side.CLIENT])
def test_messages_of_many_greenlets_arrive_whole_and_in_the_order_in_which_they_were_sent(side: Side) -> None:
    order: list[bytes] = []

    def talk(ws: WebSocket, name: int) -> None:
        for number in range(30):
            message = b"%d-%d " % (name, number) + b"." * 700
            order.append(message)
            ws.send(message)
            gevent.sleep(0)

    with connected(side, buffer_bytes=SMALL) as (ws, peer):
        talkers = [gevent.spawn(talk, ws, name) for name in range(10)]
        peer.read_until(lambda: len(peer.messages) == 300)
        gevent.joinall(talkers, timeout=WAIT_S, raise_error=True)
        assert peer.messages == order


@pytest.mark.parametrize("length", [1, 125, 126, 65535, 65536, 300_000])
@pytest.mark.parametrize("side", [Side.SERVER, Side.CLIENT])
def test_a_message_of_any_length_arrives_as_it_was_sent(side: Side, length: int) -> None:
    message = bytes(33 + n % 90 for n in range(length))
    with connected(side, max_message_bytes=None) as (ws, peer):
        writer = gevent.spawn(ws.send, message)
        peer.read_until(lambda: bool(peer.messages))
        writer.get(timeout=WAIT_S)
        assert peer.messages == [message]
        sender = gevent.spawn(peer.send, message)
        assert ws.receive() == message
        sender.get(timeout=WAIT_S)


def test_what_overtakes_goes_next_and_drops_the_generations_before_it() -> None:
    with connected(buffer_bytes=SMALL) as (ws, peer):
        fill(ws)
        for name, born in ((b"old", 0), (b"control", None), (b"new", 1), (b"old too", 0)):
            ws.send(name, born)
        ws.overtake(b"clear", 1)
        ws.send(b"newer", 1)
        peer.read_until(lambda: len(peer.messages) >= 5)
        assert peer.messages[1:] == [b"clear", b"control", b"new", b"newer"]


def test_what_overtakes_is_sent_at_once_when_nothing_waits() -> None:
    with connected() as (ws, peer):
        ws.overtake(b"clear", 1)
        peer.read_until(lambda: bool(peer.messages))
        assert peer.messages == [b"clear"]


@pytest.mark.parametrize("side", [Side.SERVER, Side.CLIENT])
def test_who_sends_never_waits_for_a_peer_that_does_not_read(side: Side) -> None:
    """The watchdog, and the reader of the other socket, send too: they have others to look after."""
    with connected(side, buffer_bytes=SMALL) as (ws, peer):
        messages = [bytes([65 + number]) * 100_000 for number in range(8)]

        def send_all() -> str:
            for message in messages:
                ws.send(message)
            return "sent"

        assert gevent.spawn(send_all).get(timeout=WAIT_S) == "sent"
        peer.read_until(lambda: len(peer.messages) == len(messages))
        assert peer.messages == messages


def test_a_peer_that_pings_and_does_not_read_the_answers_is_left() -> None:
    """Its pongs would pile up, outside of every outbox and its bound."""
    pings = Protocol(Side.CLIENT, state=OPEN)
    for _ in range(3 * MAX_PONGS):
        pings.send_ping(b"x" * 125)
    with connected(buffer_bytes=SMALL) as (ws, peer):
        flood = gevent.spawn(peer.sock.sendall, b"".join(pings.data_to_send()))
        with pytest.raises(Closed, match="does not read"):
            ws.receive()
        flood.kill()


def test_a_message_in_ever_so_many_empty_pieces_is_one_message() -> None:
    sender = Protocol(Side.CLIENT, state=OPEN)
    sender.send_text(b"one", fin=False)
    for _ in range(1000):
        sender.send_continuation(b"", fin=False)
    sender.send_continuation(b" two", fin=True)
    with connected() as (ws, peer):
        peer.sock.sendall(b"".join(sender.data_to_send()))
        assert ws.receive() == b"one two"


def test_a_peer_that_stops_reading_is_seen() -> None:
    with connected(buffer_bytes=SMALL) as (ws, peer):
        assert not ws.stalled(time.monotonic() + 60, 5)
        fill(ws)
        now = time.monotonic()
        assert not ws.stalled(now, 5)
        assert ws.stalled(now + 6, 5)
        peer.read_until(lambda: bool(peer.messages))
        until(lambda: not ws.stalled(time.monotonic() + 60, 5))


def test_a_peer_that_reads_too_little_is_seen_before_it_costs_memory() -> None:
    with connected(buffer_bytes=SMALL) as (ws, _peer):
        fill(ws)
        for _ in range(5):
            ws.send(b"x" * 1_000_000)
        assert ws.stalled(time.monotonic(), 60)


# Reading


def test_a_message_in_fragments_is_one_message_also_with_a_ping_within() -> None:
    with connected() as (ws, peer):
        peer.send(b"one ", fin=False)
        peer.send(b"are you there", Opcode.PING)
        peer.send(b"two ", Opcode.CONT, fin=False)
        peer.send(b"three", Opcode.CONT)
        peer.send(b"next")
        assert ws.receive() == b"one two three"
        assert ws.receive() == b"next"


def test_a_message_that_trickles_in_is_one_message() -> None:
    def trickle(peer: Peer) -> None:
        for byte in Frame(Opcode.TEXT, b"drop by drop").serialize(mask=True):
            peer.sock.sendall(bytes([byte]))
            gevent.sleep(0)

    with connected() as (ws, peer):
        gevent.spawn(trickle, peer)
        assert ws.receive() == b"drop by drop"


@pytest.mark.parametrize("pieces", [(b"\x00\xff",), (b'{"event":', b'"stop"}')])
def test_a_binary_message_is_empty_for_neither_peer_speaks_binary(pieces: tuple[bytes, ...]) -> None:
    with connected() as (ws, peer):
        for n, piece in enumerate(pieces):
            peer.send(piece, Opcode.CONT if n else Opcode.BINARY, fin=n == len(pieces) - 1)
        peer.send(b"text")
        assert ws.receive() == b""
        assert ws.receive() == b"text"


def test_pings_are_answered() -> None:
    with connected() as (ws, peer):
        peer.send(b"are you there", Opcode.PING)
        peer.send(b"text")
        assert ws.receive() == b"text"
        peer.read_until(lambda: bool(peer.frames))
        assert [(frame.opcode, bytes(frame.data)) for frame in peer.frames] == [(Opcode.PONG, b"are you there")]


def refused_with(ws: WebSocket, peer: Peer, code: int) -> None:
    """The reader hears that it is over, and the peer why."""
    with pytest.raises(Closed):
        ws.receive()
    closing = gevent.spawn(ws.finish)
    peer.read_to_the_end()
    assert peer.close_code == code
    peer.sock.close()
    closing.get(timeout=WAIT_S)


def test_a_message_that_is_too_big_ends_it() -> None:
    with connected(max_message_bytes=4096) as (ws, peer):
        peer.send(b"x" * 5000)
        refused_with(ws, peer, 1009)


def test_fragments_that_are_too_big_together_end_it() -> None:
    with connected(max_message_bytes=4096) as (ws, peer):
        peer.send(b"x" * 3000, fin=False)
        peer.send(b"x" * 3000, Opcode.CONT)
        refused_with(ws, peer, 1009)


def test_a_client_that_does_not_mask_is_refused() -> None:
    with connected() as (ws, peer):
        peer.send_unmasked(b"text")
        refused_with(ws, peer, 1002)


def test_what_came_before_the_end_is_still_read() -> None:
    with connected() as (ws, peer):
        peer.send(b"last words")
        peer.close()
        assert ws.receive() == b"last words"
        with pytest.raises(Closed):
            ws.receive()

"""Guards the bytes below a WebSocket: Kav hears exactly what the protocol of `websockets` hears, no more, no less."""

from collections.abc import Callable
from contextlib import suppress

import gevent
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

from kav.wire.frames import FrameReader, text_frame
from kav.wire.websocket import Closed
from tests.fuzz import fuzzed
from tests.wire.peers import connected

LIMIT = 400
DATA = st.binary(max_size=20) | st.sampled_from([b"", bytes(125), bytes(126), bytes(399), bytes(400), bytes(401)])
SIDES = st.sampled_from([Side.SERVER, Side.CLIENT])


def frame(opcode: Opcode, data: bytes, *, fin: bool, masked: bool) -> bytes:
    """Any frame, right or wrong: `websockets` would not write a wrong one."""
    return bytes((fin << 7 | opcode,)) + text_frame(data, masked=masked)[1:]


def raw_frame(first: int, flags: int, length: int, data: bytes) -> bytes:
    """A frame that may lie about everything."""
    return bytes((first, flags)) + length.to_bytes(8, "big")[-(length % 9) :] + data


PIECES: st.SearchStrategy[Callable[[bool], bytes]] = (
    st.builds(
        lambda opcode, data, fin, wrong: lambda masked: frame(opcode, data, fin=fin, masked=masked ^ wrong),
        st.sampled_from(Opcode),
        DATA,
        st.booleans(),
        st.integers(0, 12).map(lambda n: n == 0),
    )
    | st.builds(lambda data: lambda masked: text_frame(data, masked=masked), DATA)
    | st.builds(
        lambda *parts: lambda _: raw_frame(*parts),
        st.integers(0, 255),
        st.integers(0, 255),
        st.integers(0, 2**64 - 1),
        st.binary(max_size=20),
    )
)
STREAMS = st.lists(PIECES, max_size=8)
CUTS = st.lists(st.integers(1, 300), max_size=12)


def cut(data: bytes, lengths: list[int]) -> list[bytes]:
    found = []
    for length in lengths:
        found.append(data[:length])
        data = data[length:]
    return [piece for piece in (*found, data) if piece]


class Reference:
    """What the protocol hears: the text messages, and whether it goes on."""

    def __init__(self, side: Side) -> None:
        self.protocol = Protocol(side, state=OPEN, max_size=LIMIT)
        self.messages: list[bytes] = []
        self._pieces: list[bytes] = []
        self._binary = False

    def hear(self, data: bytes) -> None:
        self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            assert isinstance(event, Frame)
            if event.opcode in (Opcode.TEXT, Opcode.BINARY):
                self._binary = event.opcode is Opcode.BINARY
            elif event.opcode is not Opcode.CONT:
                continue
            self._pieces.append(b"" if self._binary else bytes(event.data))
            if event.fin:
                self.messages.append(b"".join(self._pieces))
                self._pieces.clear()


@fuzzed
@given(SIDES, STREAMS, CUTS)
@example(Side.SERVER, [lambda _: b"\x81\xff" + b"\xff" * 8], [])
def test_the_same_messages_are_heard_however_frames_lie_and_tcp_cuts_them(
    side: Side, pieces: list[Callable[[bool], bytes]], cuts: list[int]
) -> None:
    data = b"".join(piece(side is Side.SERVER) for piece in pieces)
    reference = Reference(side)
    reference.hear(data)
    heard: list[bytes] = []
    with connected(side, max_message_bytes=LIMIT) as (ws, peer):

        def listen() -> None:
            with suppress(Closed):
                while True:
                    heard.append(ws.receive())

        listener = gevent.spawn(listen)
        with suppress(OSError):
            for piece in cut(data, cuts):
                peer.sock.sendall(piece)
                gevent.sleep(0)
            peer.sock.shutdown(1)
        listener.get(timeout=5)
    assert heard == reference.messages


Sent = tuple[Opcode, bytes, bool]
WHOLE: st.SearchStrategy[Sent] = st.tuples(
    st.sampled_from(Opcode), DATA.filter(lambda data: len(data) <= LIMIT), st.booleans()
)
TAILS = st.binary(max_size=20) | st.sampled_from([b"\x81\xfe\xff", b"\x81\x7e\x01\x90a", b"\x89\x80"])


def expected(sent: list[Sent], wire: list[bytes]) -> list[tuple[bool, bytes]]:
    """What the reader is to make of frames: a text is one that neither is nor lies within a fragmented message."""
    found, fragmented = [], False
    for (opcode, data, fin), raw in zip(sent, wire, strict=True):
        is_text = opcode is Opcode.TEXT and fin and not fragmented
        found.append((is_text, data if is_text else raw))
        if opcode in (Opcode.CONT, Opcode.TEXT, Opcode.BINARY):
            fragmented = not fin
    return found


@fuzzed
@given(SIDES, st.lists(WHOLE, max_size=8), TAILS, CUTS)
@example(Side.SERVER, [(Opcode.TEXT, "שלום".encode(), True)], b"", [1, 1, 1, 1])
@example(Side.CLIENT, [(Opcode.TEXT, b"a", False), (Opcode.TEXT, b"b", True), (Opcode.TEXT, b"c", True)], b"", [])
def test_the_reader_loses_and_adds_no_byte(side: Side, sent: list[Sent], tail: bytes, cuts: list[int]) -> None:
    """What whole frames carried comes out in their order, texts unmasked and the rest as it came, whatever follows."""
    masked = side is Side.SERVER
    reader = FrameReader(masked=masked, max_message_bytes=LIMIT)
    wire = [frame(opcode, data, fin=fin, masked=masked) for opcode, data, fin in sent]
    came = b"".join(wire) + tail
    found = [piece for part in cut(came, cuts) for piece in reader.feed(part)]
    wanted = expected(sent, wire)
    assert found[: len(wanted)] == wanted
    beyond = sum(
        len(text_frame(data, masked=masked)) if is_text else len(data) for is_text, data in found[len(wanted) :]
    )
    assert beyond <= len(tail)

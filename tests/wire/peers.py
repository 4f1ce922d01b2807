"""The other end of a WebSocket, in the same process and on gevent too: it reads when told to, and sees every byte."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
from gevent import socket as gevent_socket
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

from kav.wire.websocket import WebSocket

WAIT_S = 5.0


class Peer:
    """A client (or, for a client's WebSocket, a server) that does nothing by itself, not even answer a close."""

    def __init__(self, sock: socket.socket, side: Side) -> None:
        self.sock = sock
        self.messages: list[bytes] = []
        self.frames: list[Frame] = []
        self.eof_at: float | None = None
        self._protocol = Protocol(side, state=OPEN, max_size=None)
        self._masks = side is Side.CLIENT

    def send(self, data: bytes, opcode: Opcode = Opcode.TEXT, *, fin: bool = True) -> None:
        self.sock.sendall(Frame(opcode, data, fin=fin).serialize(mask=self._masks))

    def send_unmasked(self, data: bytes) -> None:
        self.sock.sendall(Frame(Opcode.TEXT, data).serialize(mask=False))

    def close(self, code: int = 1000) -> None:
        self.send(Close(code, "").serialize(), Opcode.CLOSE)

    def read(self) -> None:
        """Take what is there, waiting for something."""
        with gevent.Timeout(WAIT_S):
            data = self.sock.recv(65536)
        if not data:
            self.eof_at = time.monotonic()
            return
        self._protocol.receive_data(data)
        for frame in self._protocol.events_received():
            assert isinstance(frame, Frame)
            self.frames.append(frame)
            if frame.opcode is Opcode.TEXT:
                self.messages.append(bytes(frame.data))

    def read_until(self, met: Callable[[], bool]) -> None:
        while not met():
            assert self.eof_at is None, "the stream ended before"
            self.read()

    def read_to_the_end(self) -> None:
        while self.eof_at is None:
            self.read()

    @property
    def close_code(self) -> int | None:
        """The code of the close frame that came."""
        found = [frame for frame in self.frames if frame.opcode is Opcode.CLOSE]
        return Close.parse(bytes(found[0].data)).code if found else None


@contextmanager
def connected(
    side: Side = Side.SERVER, *, max_message_bytes: int | None = 4096, buffer_bytes: int | None = None
) -> Iterator[tuple[WebSocket, Peer]]:
    """A WebSocket of Kav's and its peer, over TCP; small buffers make a peer that does not read felt at once."""
    listener = gevent_socket.socket()
    if buffer_bytes is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    theirs = gevent_socket.socket()
    if buffer_bytes is not None:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    theirs.connect(listener.getsockname())
    ours, _ = listener.accept()
    listener.close()
    ws = WebSocket(ours, side, max_message_bytes=max_message_bytes)
    other: Any = Side.CLIENT if side is Side.SERVER else Side.SERVER
    try:
        yield ws, Peer(theirs, other)
    finally:
        theirs.close()
        with gevent.Timeout(WAIT_S):
            ws.finish()


def fill(ws: WebSocket) -> "gevent.Greenlet[..., None]":
    """Let a greenlet write to a peer that does not read, until it stands still."""
    writer = gevent.spawn(ws.send, b"f" * 2_000_000)
    until(lambda: ws.stalled(time.monotonic(), 0.02))
    return writer


def until(met: Callable[[], bool]) -> None:
    """Let the other greenlets run until it is so."""
    deadline = time.monotonic() + WAIT_S
    while not met():
        assert time.monotonic() < deadline, "not in time"
        gevent.sleep(0.002)

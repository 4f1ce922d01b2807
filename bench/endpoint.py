"""One end of a WebSocket in the bench: it speaks, listens, and notes when its peer closed."""

import socket
import ssl

from bench.connection import Connection
from bench.frames import CLOSE, TEXT, FrameReader, close_frame, frame
from bench.loop import Loop

NORMAL = 1000
STUBBORN_S = 1.5
"""How long a peer that never answers a close keeps its end open: longer than anybody waits for it."""


class Endpoint:
    """A WebSocket whose opening handshake a subclass speaks: `opened(head)`, then `said(message, arrived_at)`."""

    def __init__(self, loop: Loop, sock: socket.socket, *, masks: bool, tls: ssl.SSLContext | None = None) -> None:
        self.loop = loop
        self.masks = masks
        self.answers_close = True
        self.close_frame_at: float | None = None
        self.fin_at: float | None = None
        """When a FIN, or an RST, was seen."""
        self._head = b""
        self._open = False
        self._closing = False
        self._reader = FrameReader()
        self.connection = Connection(loop, sock, self._received, self._ended, tls)

    def opened(self, head: bytes) -> None:
        """The peer's HTTP head has come; a server answers it."""

    def said(self, message: bytes, arrived_at: float) -> None:
        """A text message has come."""

    def over(self) -> None:
        """The peer has sent its FIN."""

    def send(self, message: bytes) -> None:
        self.connection.send(frame(message, masked=self.masks))

    def send_close(self) -> None:
        self._closing = True
        self.connection.send(close_frame(NORMAL, masked=self.masks))

    @property
    def gone(self) -> bool:
        """Whether no message can come or go any more."""
        return self._closing or self.fin_at is not None or self.close_frame_at is not None or not self.connection.open

    def _received(self, data: bytes, arrived_at: float) -> None:
        if not self._open:
            head, end, data = (self._head + data).partition(b"\r\n\r\n")
            if not end:
                self._head = head
                return
            self._open = True
            self.opened(head)
        for opcode, payload in self._reader.feed(data):
            if opcode == TEXT:
                self.said(payload, arrived_at)
            elif opcode == CLOSE and self.close_frame_at is None:
                self.close_frame_at = arrived_at
                if self.answers_close and not self._closing:
                    self.send_close()

    def _ended(self, at: float) -> None:
        self.fin_at = at
        if self.answers_close:
            self.connection.close()
        else:
            self.loop.later(STUBBORN_S, self.connection.close)
        self.over()


def connect(port: int) -> socket.socket:
    """Open a TCP connection to this machine; on loopback that takes no time worth a state of its own."""
    return socket.create_connection(("127.0.0.1", port), timeout=5)

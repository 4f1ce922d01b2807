"""A non-blocking TCP connection on the loop, TLS or not, whose arrivals bear the kernel's time stamp.

The stamp (SO_TIMESTAMPNS) is taken when the bytes reach this machine's socket: how late the generator reads them is no
part of any latency that is measured.
"""

import select
import socket
import ssl
import struct
import time
from collections.abc import Callable

from bench.loop import Loop

RECEIVE_BYTES = 65536
ANCILLARY_BYTES = socket.CMSG_SPACE(16)
SO_TIMESTAMPNS = 35  # Linux; Python's socket module does not name it
_TIMESPEC = struct.Struct("qq")
_RST_ON_CLOSE = struct.pack("ii", 1, 0)


class Connection:
    """One connection; `on_data(data, arrived_at)` and `on_end(at)` (FIN or RST) are called by the loop."""

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        on_data: Callable[[bytes, float], None],
        on_end: Callable[[float], None],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._loop, self._sock = loop, sock
        self._on_data, self._on_end = on_data, on_end
        self._unsent = bytearray()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = tls.wrap_bio(self._incoming, self._outgoing, server_side=True) if tls else None
        self._greeted = tls is None
        self.open = True
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        loop.watch(sock.fileno(), self._ready)

    def send(self, data: bytes | bytearray) -> None:
        """Send, or keep what the peer has no room for; to a connection that is gone, nothing."""
        if self._tls is not None:
            self._tls.write(data)
            data = self._outgoing.read()
        self._send(data)

    def half_close(self) -> None:
        """Send a FIN, and go on reading."""
        self._sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Send an RST."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
        self.close()

    def close(self) -> None:
        if self.open:
            self.stop_reading()
            self.open = False
            self._sock.close()

    def stop_reading(self) -> None:
        """Leave the connection as it is, and look at it no more."""
        self._loop.forget(self._sock.fileno())

    def _send(self, data: bytes | bytearray) -> None:
        if not self.open:
            return
        if self._unsent:
            self._unsent += data
            return
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # the peer is gone; reading tells
        if sent < len(data):
            self._unsent += data[sent:]
            self._loop.want_writable(self._sock.fileno(), True)

    def _ready(self, events: int) -> None:
        if events & select.EPOLLOUT:
            waiting, self._unsent = self._unsent, bytearray()
            self._loop.want_writable(self._sock.fileno(), False)
            self._send(waiting)
        if events & ~select.EPOLLOUT:
            self._receive()

    def _receive(self) -> None:
        try:
            data, ancillary, _, _ = self._sock.recvmsg(RECEIVE_BYTES, ANCILLARY_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        if not data:
            self.stop_reading()
            self._on_end(time.time())
            return
        seconds, nanoseconds = _TIMESPEC.unpack(ancillary[0][2]) if ancillary else (time.time(), 0)
        arrived_at = seconds + nanoseconds / 1e9
        if self._tls is None:
            self._on_data(data, arrived_at)
        else:
            self._decrypt(self._tls, data, arrived_at)

    def _decrypt(self, tls: ssl.SSLObject, data: bytes, arrived_at: float) -> None:
        self._incoming.write(data)
        try:
            if not self._greeted:
                tls.do_handshake()
                self._greeted = True
            while chunk := tls.read(RECEIVE_BYTES):
                self._on_data(chunk, arrived_at)
        except ssl.SSLWantReadError:
            pass
        if self._outgoing.pending:
            self._send(self._outgoing.read())

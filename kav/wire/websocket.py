"""One WebSocket on a gevent socket: read by one greenlet, written by whoever has something to say, closed for good.

The protocol itself (fragments, limits, pings, close codes) is the Sans-I/O half of the `websockets` package; whole text
messages pass it by (`kav.wire.frames`). In here are the socket's habits that a phone line needs:

- reading happens in the calling greenlet: no reader thread, and TCP's own back-pressure;
- one writer at a time, and nobody who decides ever waits for a peer: whoever finds the socket idle writes what the
  kernel takes at once, a greenlet writes the rest, all others only enqueue, so that the order of decision is the order
  on the wire;
- `overtake` goes before everything: what is queued of older generations is dropped;
- `close` never waits for the peer: close frame, FIN, then at most `LINGER_S` of discarding what still comes, for an
  RST would destroy the close frame on its way.
"""

import socket
import time
from collections import deque
from typing import Any, Final, cast

import gevent
from gevent import monkey
from gevent.event import Event
from gevent.socket import cancel_wait, wait
from gevent.ssl import SSLSocket
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

from kav.wire.frames import FrameReader, text_frame

RECEIVE_BYTES: Final = 65536

LINGER_S: Final = 0.5
"""How long a closed socket discards input while it waits for the peer's FIN."""

CLOSE_WRITE_S: Final = 0.05
"""How long the close frame may take: a peer that does not read is not waited for, the FIN goes without it."""

OUTBOX_BYTES: Final = 4 * 1024 * 1024
"""Bound of what waits for one peer: some six minutes of speech in base64."""

MAX_PONGS: Final = 1000
"""Answers to pings that may wait for a peer that does not read."""

UNACKNOWLEDGED_MS: Final = 10_000
"""How long the kernel keeps sending to a peer that acknowledges nothing (TCP_USER_TIMEOUT)."""

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
POLICY_VIOLATION: Final = 1008
INTERNAL_ERROR: Final = 1011

_native_socket = monkey.get_original("socket", "socket")


class Closed(Exception):
    """The WebSocket is over: closed by either side, reset, or lost."""


class WebSocket:
    """An open WebSocket over `sock`, a connected gevent socket whose handshake is done."""

    def __init__(self, sock: socket.socket, side: Side, *, max_message_bytes: int | None) -> None:
        self._sock = sock
        self._protocol = Protocol(side, state=OPEN, max_size=max_message_bytes)
        self._is_tls = isinstance(sock, SSLSocket)
        self._masks = side is Side.CLIENT
        self._reader = FrameReader(masked=not self._masks, max_message_bytes=max_message_bytes)
        self._received: deque[bytes] = deque()
        self._fragments: list[bytes] = []
        self._binary = False
        self._outbox: deque[tuple[bytes, int | None]] = deque()
        self._outbox_bytes = 0
        self._overflowed = False
        self._writing_since: float | None = None
        self._writer_idle = Event()
        """Set when a write that had to wait is over."""
        self._lost: str | None = None
        self._end_of_file = False
        self._closing = False
        self._fin_sent = Event()
        self.reading_since: float | None = None
        """When the reader began to wait for the peer; None while it is busy elsewhere. Monotonic seconds."""
        self.fin_at: float | None = None
        """When this side sent its FIN. Monotonic seconds."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)

    # Reading: one greenlet

    def receive(self) -> bytes:
        """Return the next message, however long it takes; a binary one as b"", for neither peer speaks binary.

        Raises:
            Closed: the peer closed, the connection is lost, or `close` was called.
        """
        while not self._received:
            if self._closing or self._lost is not None:
                raise Closed(self._lost or "closed by Kav")
            data = self._wait()
            if not self._closing:  # `close` has woken the wait: the peer has not spoken, and its close frame is due
                self._feed(data)
        return self._received.popleft()

    def _wait(self) -> bytes:
        """Return what comes next; waiting first spares asking an empty socket: a system call and an exception."""
        self.reading_since = time.monotonic()
        try:
            if not self._is_tls:  # TLS may hold data that the socket has not
                wait(self._readable)
            data = self._sock.recv(RECEIVE_BYTES)
            self._end_of_file = not data
        except (OSError, ValueError) as error:  # ValueError: gevent's word for a TLS socket that was shut down
            self._lost = self._lost or f"connection lost: {error}"
            data = b""
        finally:
            self.reading_since = None
        return data

    def _feed(self, data: bytes) -> None:
        protocol = self._protocol
        for is_text, piece in self._reader.feed(data):
            if not is_text:
                protocol.receive_data(piece)
                self._take_unusual()
            elif protocol.state is OPEN:
                self._received.append(piece)
        if not data:
            protocol.receive_eof()
        if protocol.state is not OPEN and self._lost is None:
            why = protocol.close_rcvd or protocol.parser_exc or protocol.close_sent
            self._lost = f"closed: {why}" if data else "connection lost: end of file"
        if protocol.writes and not self._closing and self._lost is None:
            if self._writing_since is None:
                self._flush()  # a pong
            elif len(protocol.writes) > MAX_PONGS:
                self._lose(ConnectionAbortedError("it pings, and does not read the answers"))

    def _take_unusual(self) -> None:
        """Take what the protocol made of a frame: a binary message, or a fragment of one that is not."""
        for event in self._protocol.events_received():
            frame = cast("Frame", event)  # the handshake is done: no requests or responses any more
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
                self._binary = frame.opcode is Opcode.BINARY
            elif frame.opcode is not Opcode.CONT:
                continue
            if frame.data and not self._binary:  # empty ones count for no limit
                self._fragments.append(bytes(frame.data))
            if frame.fin:
                self._received.append(b"".join(self._fragments))
                self._fragments.clear()

    # Writing: any greenlet

    def send(self, message: bytes, generation: int | None = None) -> None:
        """Send a text message after all that was sent before. Never raises: a lost connection is the reader's news."""
        if self._closing or self._lost is not None:
            return
        self._outbox.append((message, generation))
        self._outbox_bytes += len(message)
        if self._writing_since is None:
            self._flush()
        elif self._outbox_bytes > OUTBOX_BYTES:
            self._overflowed = True

    def overtake(self, message: bytes, generation: int) -> None:
        """Drop what is queued of generations before `generation` and send `message` before all the rest."""
        kept = [(queued, born) for queued, born in self._outbox if born is None or born >= generation]
        self._outbox = deque([(message, None), *kept])
        self._outbox_bytes = sum(len(queued) for queued, _ in self._outbox)
        if self._writing_since is None and not self._closing and self._lost is None:
            self._flush()

    @property
    def waiting_bytes(self) -> int:
        """How much waits for the peer to read."""
        return self._outbox_bytes

    def stalled(self, now: float, limit_s: float) -> bool:
        """Whether the peer has stopped reading: one write stood still for `limit_s`, or the outbox is full."""
        since = self._writing_since
        return self._overflowed or (since is not None and now - since > limit_s)

    def _flush(self) -> None:
        """Write what the kernel takes at once and leave the rest to a greenlet of its own: who decides never waits."""
        try:
            while not self._closing and (self._outbox or self._protocol.writes):
                data = self._next()
                sent = self._try_send(data)
                if sent < len(data):
                    self._writing_since = time.monotonic()
                    self._writer_idle.clear()
                    gevent.spawn(self._drain, data[sent:])
                    return
        except (OSError, ValueError) as error:
            self._lose(error)

    def _drain(self, rest: bytes) -> None:
        """Write `rest`, then all that waits behind it, as slowly as the peer reads."""
        try:
            self._sock.sendall(rest)
            while not self._closing and (self._outbox or self._protocol.writes):
                self._writing_since = time.monotonic()
                self._sock.sendall(self._next())
        except (OSError, ValueError) as error:
            self._lose(error)
        finally:
            self._writing_since = None
            self._writer_idle.set()

    def _try_send(self, data: bytes) -> int:
        """Return how many bytes the kernel took without waiting."""
        if self._is_tls:
            self._sock.settimeout(0.0)
            try:
                return self._sock.send(data)
            finally:
                self._sock.settimeout(None)
        try:
            return self._sock.send(data, 0, 0.0)  # type: ignore[call-arg]  # gevent's third argument: a timeout
        except BlockingIOError:
            return 0

    def _lose(self, error: Exception) -> None:
        self._lost = self._lost or f"connection lost: {error}"
        self._outbox.clear()
        self._wake_reader()

    def _next(self) -> bytes:
        """Return what is to be written next: what the protocol has to say (a pong), and one message."""
        protocol = self._protocol
        said = b"".join(protocol.data_to_send()) if protocol.writes else b""
        if protocol.state is not OPEN:
            self._outbox.clear()  # nothing may follow a close frame
        if not self._outbox:
            return said
        message, _ = self._outbox.popleft()
        self._outbox_bytes -= len(message)
        return said + text_frame(message, masked=self._masks)

    # Closing

    def close(self, code: int = NORMAL) -> None:
        """Begin to close, from any greenlet, without waiting: close frame, then FIN; `receive` raises `Closed`."""
        if self._closing:
            return
        self._closing = True
        self._outbox.clear()
        self._outbox_bytes = 0
        gevent.spawn(self._say_goodbye, code)
        self._wake_reader()

    def finish(self) -> None:
        """Close and release the socket; called last, by the reading greenlet. Takes `LINGER_S` at the most."""
        self.close()
        self._fin_sent.wait(2 * CLOSE_WRITE_S)
        try:
            with gevent.Timeout(LINGER_S, cast("Any", False)):
                while not self._end_of_file and self._sock.recv(RECEIVE_BYTES):
                    pass
            self._sock.shutdown(socket.SHUT_RDWR)
        except (OSError, ValueError):
            pass  # already gone: nothing is left to shut down
        self._sock.close()

    def wait_fin(self, timeout_s: float) -> None:
        """Wait until this side's FIN is on its way."""
        self._fin_sent.wait(timeout_s)

    def _say_goodbye(self, code: int) -> None:
        how = socket.SHUT_RDWR  # a peer that does not read: only this wakes a writer that is stuck
        try:
            with gevent.Timeout(CLOSE_WRITE_S, cast("Any", False)):
                if self._writing_since is not None:
                    self._writer_idle.wait()
                if self._protocol.state is OPEN:
                    self._protocol.send_close(code)
                self._sock.sendall(b"".join(self._protocol.data_to_send()))
                how = socket.SHUT_WR
        except (OSError, ValueError):
            pass  # already gone: the shutdown below is harmless
        self._shutdown(how)
        self.fin_at = time.monotonic()
        self._fin_sent.set()

    def _shutdown(self, how: int) -> None:
        """Shut the TCP connection down beneath TLS: gevent's TLS sockets would forget their session first."""
        if self._sock.fileno() < 0:
            return
        bare = _native_socket(fileno=self._sock.fileno())
        try:
            bare.shutdown(how)
        except OSError:
            pass  # the peer was faster
        finally:
            bare.detach()

    def _wake_reader(self) -> None:
        """Let `receive` return at once; gevent's documented `cancel_wait` on the watcher it keeps on the socket."""
        if self.reading_since is not None:
            cancel_wait(self._readable, ConnectionAbortedError("closed by Kav"))

    @property
    def _readable(self) -> Any:  # noqa: ANN401 - a watcher of gevent's loop
        return self._sock._read_event  # type: ignore[attr-defined]  # noqa: SLF001 - it has no public name

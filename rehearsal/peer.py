"""One WebSocket connection of the rehearsal world: it speaks, listens, observes, and misbehaves on request."""

import asyncio
import contextlib
import socket
import struct
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import cast

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from rehearsal.delay_line import DelayLine

KERNEL_LOOK_S = 0.01  # how often a peer that does not read asks the kernel whether FIN or RST came
_RST_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, zero seconds: close() sends RST instead of FIN
_CLOSED, _CLOSE_WAIT, _LAST_ACK = 7, 8, 9  # tcpi_state in Linux' TCP_INFO

Answer = tuple[int, str] | None  # to an upgrade: None is 101, else HTTP status and body


class Refused(Exception):
    """The upgrade was answered with another status than 101."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"The upgrade was refused with HTTP {status}: {body.strip() or '(no body)'}")
        self.status = status
        self.body = body


class Gone(Exception):
    """No further message will come: a close frame, FIN or RST arrived, or this side dropped the connection."""


class Peer(asyncio.Protocol):
    """One WebSocket connection; see `rehearsal.websocket` for its use.

    Observations (monotonic seconds, or None): `opened_at` (101 sent or received), `close_frame_at` with `close_code`
    and `close_reason`, `eof_at` (FIN), `reset_at` (RST), `closed_at` (this side's descriptor is free). With a network
    delay they are what this end of the line sees, thus one delay later.

    `reset_at` beside `eof_at` means that the other side had closed both directions and we wrote to it still.

    Switch: `answers_close` (False: neither echo a close frame nor close TCP on FIN; over TLS asyncio closes on FIN).
    """

    def __init__(self, protocol: ServerProtocol | ClientProtocol, delay_s: float = 0, peername: str = "") -> None:
        self.name = peername
        self.request: Request | None = None
        self.opened_at: float | None = None
        self.close_frame_at: float | None = None
        self.close_code: int | None = None
        self.close_reason = ""
        self.eof_at: float | None = None
        self.reset_at: float | None = None
        self.closed_at: float | None = None
        self.answers_close = True
        self.on_closed: Callable[[Peer], None] | None = None
        self.on_request: Callable[[Peer, Request], None] | None = None
        self._protocol = protocol
        self._transport: asyncio.Transport | None = None
        self._inbound, self._outbound = DelayLine(delay_s), DelayLine(delay_s)
        self._mute = self._paused = self._said_close = self._said_eof = self._finished = False
        self._inbox: deque[str | bytes] = deque()
        self._fragments: list[bytes] = []
        self._fragments_are_text = False
        self._on_message: Callable[[str | bytes, float], None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._gone, self._closed = asyncio.Event(), asyncio.Event()
        self._upgraded: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # Speaking

    def send_text(self, text: str | bytes) -> bool:
        """Send a text frame; False when this side may not speak any more (it said close or FIN, or has vanished)."""
        return self._send_frame(Opcode.TEXT, text.encode() if isinstance(text, str) else text)

    def send_binary(self, data: bytes) -> bool:
        """Send a binary frame; see `send_text`."""
        return self._send_frame(Opcode.BINARY, data)

    def send_raw(self, data: bytes) -> None:
        """Put bytes on the wire as they are, below the WebSocket."""
        self._write(data)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send a close frame and go on reading; the server's FIN follows the answer."""
        if self._protocol.state is OPEN and not self._said_close:
            self._protocol.send_close(code, reason)
            self._flush()

    def drop(self) -> None:
        """Send FIN without a close frame and go on reading, as the kernel does for a process that has died."""
        self._write(b"")

    def reset(self) -> None:
        """Send RST."""
        self._outbound.put(self._reset_now)

    def vanish(self) -> None:
        """Neither read nor write any more, without FIN; `gone()` still notices the other side's, in the kernel."""
        self._mute = True
        self.pause_reading()

    def abort(self) -> None:
        """Free the descriptor at once, without ceremony."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def has_transport(self) -> bool:
        """Whether asyncio has taken the socket over."""
        return self._transport is not None

    @property
    def unsent_bytes(self) -> int:
        """Bytes written that the kernel has not taken yet: the other side reads slowly."""
        return self._transport.get_write_buffer_size() if self._transport else 0

    # Listening

    def pause_reading(self) -> None:
        """Leave everything in the kernel's buffer, so that TCP pushes back on the sender."""
        if self._transport is not None and not self._paused:
            self._paused = True
            self._transport.pause_reading()
            self._look_into_kernel()

    def resume_reading(self) -> None:
        """Read again (after `vanish()` too, but then without ever answering)."""
        if self._transport is not None and self._paused:
            self._paused = False
            self._transport.resume_reading()

    async def receive(self) -> str | bytes:
        """The next message. Raises `Gone` when none will come."""
        while not self._inbox:
            if self._finished:
                raise Gone(f"{self.name or 'The peer'} is gone, close code {self.close_code}")
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._inbox.popleft()

    def deliver_to(self, on_message: Callable[[str | bytes, float], None]) -> None:
        """Hand each message, with its time, to `on_message` in the moment it arrives, in place of `receive()`."""
        self._on_message = on_message
        while self._inbox:
            on_message(self._inbox.popleft(), time.monotonic())

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        with contextlib.suppress(Gone):
            while True:
                yield await self.receive()

    async def gone(self) -> None:
        """Return when FIN or RST has arrived, or this side has closed its descriptor."""
        await self._gone.wait()

    async def closed(self) -> None:
        """Return when this side's descriptor is free."""
        await self._closed.wait()

    # The handshake, for `connect` and `serve`

    async def upgrade(self, headers: Mapping[str, str]) -> None:
        """Ask for the upgrade. Raises `Refused`, or ConnectionError when the connection ends before an answer."""
        protocol = cast("ClientProtocol", self._protocol)
        request = protocol.connect()
        for name, value in headers.items():
            if name in request.headers:
                del request.headers[name]
            request.headers[name] = value
        self.request = request
        protocol.send_request(request)
        self._flush()
        await self._upgraded

    def admit(self, answer: Answer) -> bool:
        """Answer the upgrade with 101, or with `answer`'s status and body; tells whether the socket is open."""
        protocol = cast("ServerProtocol", self._protocol)
        assert self.request is not None
        response = protocol.accept(self.request) if answer is None else protocol.reject(*answer)
        protocol.send_response(response)
        if response.status_code == 101:
            self.opened_at = time.monotonic()
        self._flush()
        return self.opened_at is not None

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; every frame leaves at once."""
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        """Bytes came in."""
        self._inbound.put(partial(self._feed, data))

    def eof_received(self) -> bool:
        """FIN came in; stay half open where TCP allows it (TLS does not), for closing is our own decision."""
        self._inbound.put(self._eof)
        return not self._is_tls

    def connection_lost(self, exc: Exception | None) -> None:
        """The descriptor is closed: by us, or by RST."""
        self.closed_at = time.monotonic()
        self._closed.set()
        if self.on_closed is not None:
            self.on_closed(self)
        self._inbound.put(partial(self._lost, exc))

    # Inside

    @property
    def _is_tls(self) -> bool:
        return self._transport is not None and self._transport.get_extra_info("sslcontext") is not None

    def _send_frame(self, opcode: Opcode, data: bytes) -> bool:
        if self._mute or self._said_close or self._said_eof or self.closed_at is not None:
            return False
        self._write(Frame(opcode, data).serialize(mask=isinstance(self._protocol, ClientProtocol)))
        return True

    def _write(self, data: bytes) -> None:
        """Send `data`; b"" is FIN, after which nothing else can be sent."""
        if not self._mute and not (data and self._said_eof):
            self._said_eof = self._said_eof or not data
            self._outbound.put(partial(self._write_now, data))

    def _write_now(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if data:
            transport.write(data)
        elif self.eof_at is not None or not transport.can_write_eof():
            transport.close()
        else:
            transport.write_eof()

    def _reset_now(self) -> None:
        if self._transport is not None and self.closed_at is None:
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
            self._transport.abort()

    def _feed(self, data: bytes) -> None:
        if self._protocol.reader.eof:
            return
        self._protocol.receive_data(data)
        self._flush()
        for event in self._protocol.events_received():
            self._dispatch(event)
        self._fail_upgrade()
        if self._protocol.parser_exc is not None:
            self._finish()

    def _flush(self) -> None:
        writes = self._protocol.data_to_send()
        ending = self._protocol.close_rcvd is not None or self.eof_at is not None
        if ending and not self.answers_close:
            return
        self._said_close = self._said_close or self._protocol.close_sent is not None
        for data in writes:
            self._write(data)

    def _dispatch(self, event: object) -> None:
        if isinstance(event, Request):
            self.request = event
            if self.on_request is not None:
                self.on_request(self, event)
        elif isinstance(event, Response):
            self._response(event)
        elif isinstance(event, Frame):
            self._frame(event)

    def _response(self, response: Response) -> None:
        if self._upgraded.done():
            return
        if self._protocol.handshake_exc is None:
            self.opened_at = time.monotonic()
            self._upgraded.set_result(None)
        else:
            body = bytes(response.body or b"").decode(errors="replace")
            self._upgraded.set_exception(Refused(response.status_code, body))

    def _fail_upgrade(self) -> None:
        failure = self._protocol.handshake_exc
        if failure is not None and not self._upgraded.done() and isinstance(self._protocol, ClientProtocol):
            self._upgraded.set_exception(ConnectionError(f"No upgrade: {failure}"))

    def _frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            self.close_frame_at = time.monotonic()
            received = self._protocol.close_rcvd
            self.close_code, self.close_reason = (received.code, received.reason) if received else (None, "")
            self._finish()
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._fragment(frame)

    def _fragment(self, frame: Frame) -> None:
        if frame.opcode is not Opcode.CONT:
            self._fragments_are_text = frame.opcode is Opcode.TEXT
        self._fragments.append(bytes(frame.data))
        if not frame.fin:
            return
        data, self._fragments = b"".join(self._fragments), []
        try:
            self._deliver(data.decode() if self._fragments_are_text else data)
        except UnicodeDecodeError:
            self.close(1007, "text that is not UTF-8")

    def _deliver(self, message: str | bytes) -> None:
        if self._on_message is not None:
            self._on_message(message, time.monotonic())
            return
        self._inbox.append(message)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _finish(self) -> None:
        self._finished = True
        self._wake()

    def _eof(self) -> None:
        self._saw_fin()
        self._protocol.receive_eof()
        self._fail_upgrade()
        self._flush()
        if self._said_eof and self.answers_close:
            self._write(b"")  # both directions are at their end now

    def _saw_fin(self) -> None:
        self.eof_at = self.eof_at or time.monotonic()
        self._finish()
        self._gone.set()

    def _lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self.reset_at = self.reset_at or time.monotonic()
        if not self._upgraded.done():
            if isinstance(self._protocol, ClientProtocol):
                self._upgraded.set_exception(exc or ConnectionError("The connection ended before the upgrade"))
            else:
                self._upgraded.cancel()
        self._finish()
        self._gone.set()

    def _look_into_kernel(self) -> None:
        """While nothing is read, asyncio hears of neither FIN nor RST; the kernel's TCP state tells."""
        if not self._paused or self._transport is None or self.closed_at is not None or self._gone.is_set():
            return
        sock = self._transport.get_extra_info("socket")
        state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[0]
        if state in (_CLOSE_WAIT, _LAST_ACK) or (state == _CLOSED and self._said_eof):
            self._saw_fin()
        elif state == _CLOSED:
            self.reset_at = time.monotonic()
            self._finish()
            self._gone.set()
        asyncio.get_running_loop().call_later(KERNEL_LOOK_S, self._look_into_kernel)

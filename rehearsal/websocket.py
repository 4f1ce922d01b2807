"""A WebSocket endpoint that can misbehave on purpose, and that tells exactly when its peer did what.

Both sides of the rehearsal world speak through it: the caller's Twilio connects, the model is served. It is asyncio's
Transport and Protocol around the Sans-I/O protocol of `websockets`, so that every byte, FIN and RST passes this file.

    peer = await connect("ws://127.0.0.1:8080/twilio/media", headers={"X-Twilio-Signature": "..."})
    peer.send_text('{"event":"connected"}')
    async for message in peer: ...          # str for text, bytes for binary; ends with close frame, FIN or RST
    await peer.gone()                       # FIN or RST has arrived
    print(peer.close_frame_at, peer.close_code, peer.eof_at)

    server = await serve(handler)           # async def handler(peer); it closes or leaves, nothing is closed for it
    print(server.port); await server.close()

All times are `time.monotonic()` seconds, which one machine's processes share. No compression, no size limit.
"""

import asyncio
import contextlib
import inspect
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from ssl import SSLContext, create_default_context

from websockets.client import ClientProtocol
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from rehearsal.peer import Answer, Gone, Peer, Refused

__all__ = ["Gone", "Peer", "Refused", "Server", "connect", "serve"]

Handler = Callable[[Peer], Awaitable[None]]
ProcessRequest = Callable[[Request], Answer | Awaitable[Answer]]

log = logging.getLogger(__name__)


class Server:
    """A listening socket and the peers it has; made by `serve`."""

    def __init__(self, handler: Handler, process_request: ProcessRequest | None, delay_s: float) -> None:
        self.port = 0
        self.peers: set[Peer] = set()
        self._handler = handler
        self._process_request = process_request
        self._delay_s = delay_s
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._tls: SSLContext | None = None

    async def listen(self, sock: socket.socket, tls: SSLContext | None) -> None:
        """Begin to accept on a bound socket."""
        self.port, self._tls = sock.getsockname()[1], tls
        self._listener = await asyncio.get_running_loop().create_server(self._accepted, sock=sock, ssl=tls)

    @contextlib.asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Refuse connections meanwhile; those that are open stay. Nobody else gets the port."""
        if self._listener is None:
            raise RuntimeError("It does not listen yet: `await serve(...)` first")
        self._listener.close()
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", self.port))  # bound and not listening: the kernel refuses whoever comes
        try:
            yield
        finally:
            await self.listen(sock, self._tls)

    async def close(self) -> None:
        """Stop listening, cancel the handlers, free every descriptor."""
        if self._listener is not None:
            self._listener.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for peer in list(self.peers):
            peer.abort()
        if self._listener is not None:
            await self._listener.wait_closed()

    def _accepted(self) -> Peer:
        peer = Peer(ServerProtocol(max_size=None), self._delay_s)
        peer.on_request = self._requested
        peer.on_closed = self.peers.discard
        self.peers.add(peer)
        return peer

    def _requested(self, peer: Peer, request: Request) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(peer, request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, peer: Peer, request: Request) -> None:
        try:
            answer = self._process_request(request) if self._process_request else None
            if inspect.isawaitable(answer):
                answer = await answer
            if peer.closed_at is None and peer.admit(answer):
                await self._handler(peer)
        except Exception:  # the root of this task: without a word here it would fail in silence
            log.exception("The handler of %s failed; its socket is closed with 1011", request.path)
            peer.close(1011)


async def serve(
    handler: Handler,
    host: str = "127.0.0.1",
    port: int = 0,
    process_request: ProcessRequest | None = None,
    ssl: SSLContext | None = None,
    *,
    delay_s: float = 0,
    receive_buffer_bytes: int | None = None,
) -> Server:
    """Accept WebSockets; `handler(peer)` runs for each, with `peer.request` (path, headers) at hand.

    `process_request(request)` may refuse with (status, body), at once or awaited; one that never returns never answers.
    `delay_s` is a network delay for each direction; `receive_buffer_bytes` makes a slow reader push back sooner.
    """
    server = Server(handler, process_request, delay_s)
    sock = socket.create_server((host, port), backlog=512)
    _shrink(sock, receive_buffer_bytes)
    await server.listen(sock, ssl)
    return server


async def connect(
    url: str,
    headers: Mapping[str, str] | None = None,
    ssl: SSLContext | None = None,
    *,
    delay_s: float = 0,
    receive_buffer_bytes: int | None = None,
    timeout_s: float = 10,
) -> Peer:
    """Open a WebSocket. Raises `Refused`, OSError or TimeoutError; the options are those of `serve`."""
    uri = parse_uri(url)
    loop = asyncio.get_running_loop()
    peer = Peer(ClientProtocol(uri, max_size=None), delay_s, url)
    sock = socket.socket(socket.AF_INET6 if ":" in uri.host else socket.AF_INET)
    sock.setblocking(False)
    _shrink(sock, receive_buffer_bytes)
    tls = (ssl or create_default_context()) if uri.secure else None
    try:
        async with asyncio.timeout(timeout_s):
            await loop.sock_connect(sock, (uri.host, uri.port))
            await loop.create_connection(lambda: peer, sock=sock, ssl=tls, server_hostname=uri.host if tls else None)
            await peer.upgrade(headers or {})
    except BaseException:
        peer.abort() if peer.has_transport else sock.close()
        raise
    return peer


def _shrink(sock: socket.socket, receive_buffer_bytes: int | None) -> None:
    if receive_buffer_bytes is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)

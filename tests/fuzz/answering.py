"""Somebody whom Kav asks over HTTP, and who answers with whatever bytes a test wants."""

import base64
import hashlib
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread

ACCEPT = b"{accept}"
"""Stands in an answer for what a WebSocket's server says to the key that it was asked with (RFC 6455, 4.2.2)."""

KEY = re.compile(rb"Sec-WebSocket-Key: (\S+)")
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
BREATH_S = 0.0005
"""Between two pieces, so that they come apart."""


class Service:
    """A server, in a thread, that answers each request with the same bytes, cut as a network may cut them."""

    def __init__(self) -> None:
        self.answer = b""
        self.cuts: list[int] = []
        """The lengths of the first pieces."""
        self.asked: list[bytes] = []
        """How each request begins."""
        self.url = ""

    def speak(self, handler: StreamRequestHandler) -> None:
        with suppress(OSError):  # who asked has heard enough
            self.asked.append(handler.request.recv(65536))
            rest = self.answer.replace(ACCEPT, accept(self.asked[-1]))
            for length in self.cuts:
                handler.request.sendall(rest[:length])
                rest = rest[length:]
                time.sleep(BREATH_S)
            handler.request.sendall(rest)


def accept(asked: bytes) -> bytes:
    key = KEY.search(asked)
    return base64.b64encode(hashlib.sha1(key[1] + GUID, usedforsecurity=False).digest()) if key else b""


@contextmanager
def service() -> Iterator[Service]:
    found = Service()

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            found.speak(self)

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        found.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield found
        server.shutdown()
        thread.join(5)


def answer(body: bytes, status: str = "200 OK", *headers: bytes) -> bytes:
    """An honest answer over HTTP with that body."""
    said = (f"HTTP/1.1 {status}".encode(), b"Content-Type: application/json", b"Content-Length: %d" % len(body))
    return b"\r\n".join((*said, b"Connection: close", *headers, b"", body))

"""A tool's server on loopback, with TLS and a certificate for `localhost`; a test writes its answers to the byte."""

import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path
from threading import Event, Thread

from gevent import ssl as gevent_ssl

Answer = Callable[["Asked", BufferedIOBase], None]


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class ToolServer:
    """Where it is, what it was asked, and how it answers."""

    answer: Answer
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    over: Event = field(default_factory=Event)
    """Set when the test is over: an answer that never ends must."""

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/api/free-slots"


def make_certificate(folder: Path) -> Path:
    """A key and a certificate for `localhost`, signed by itself, in one file."""
    made = folder / "localhost.pem"
    key = folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(key), "-out", str(made)),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
    made.write_text(made.read_text() + key.read_text())
    return made


def trust(certificate: Path) -> gevent_ssl.SSLContext:
    """A client's trust in that certificate and no other."""
    context = gevent_ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certificate)
    return context


def status(code: int, body: bytes = b"{}", kind: str = "application/json", *headers: str) -> Answer:
    """A whole answer."""
    lines = [f"HTTP/1.1 {code} Whatever", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *headers, "", ""]

    def send(_: Asked, out: BufferedIOBase) -> None:
        out.write("\r\n".join(lines).encode() + body)

    return send


@contextmanager
def tool_server(certificate: Path | None, answer: Answer) -> Iterator[ToolServer]:
    server = ToolServer(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Asked(self.command, self.path, dict(self.headers.items()), body)
            server.asked.append(asked)
            with suppress(OSError):  # who asked has left
                server.answer(asked, self.wfile)
                self.wfile.flush()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            """Say nothing."""

    class Listener(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A handshake that the client broke off is what a test wanted."""

    with Listener(("127.0.0.1", 0), Handler) as listener:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            # The handshake belongs into the connection's thread: one that is broken off must not stop the listener.
            listener.socket = context.wrap_socket(listener.socket, server_side=True, do_handshake_on_connect=False)
        server.port = listener.server_port
        thread = Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            listener.shutdown()
            thread.join(5)

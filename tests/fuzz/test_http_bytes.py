"""Guards the server beneath Flask: whatever bytes come, it lets go of them in time, and serves the next one."""

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, cast

import gevent
import pytest
from flask import Flask, request
from gevent import socket as gevent_socket
from gevent.pywsgi import WSGIServer
from hypothesis import example, given
from hypothesis import strategies as st

from kav.wire.websocket import WebSocket
from kav.wire.websocket_server import AdmittingSock, WebSocketHandler
from tests.fuzz import fuzzed, mutated

IN_TIME_S = 3.0
UPGRADE = (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
FORM = b"POST /form HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
HONEST = [
    b"GET /echo HTTP/1.1\r\nHost: localhost\r\n" + UPGRADE + b"\r\n\x81\x81aaaa\x00",
    FORM + b"Content-Length: 3\r\n\r\na=b",
    FORM + b"Transfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\n\r\n",
    FORM + b"Expect: 100-continue\r\nContent-Length: 3\r\n" + UPGRADE + b"\r\na=b",
    b"GET / HTTP/1.0\r\n\r\nGET /form HTTP/1.1\r\n\r\n",
]


class ImpatientHandler(WebSocketHandler):
    """Waits as long as a test does."""

    header_timeout_s = keep_alive_s = request_timeout_s = 0.05


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    app = Flask("server")
    app.config["MAX_CONTENT_LENGTH"] = 64 * 1024
    app.add_url_rule("/form", "form", lambda: str(len(request.form)), methods=["GET", "POST"])

    @AdmittingSock(app, lambda _: None).route("/echo")
    def _echo(ws: WebSocket) -> None:
        with gevent.Timeout(0.05, cast("Any", False)):
            while True:
                ws.send(ws.receive())

    server = WSGIServer(("127.0.0.1", 0), app, log=None, error_log=None, handler_class=ImpatientHandler)
    server.start()
    assert server.server_port is not None
    yield "127.0.0.1", server.server_port
    server.stop(timeout=1)


@fuzzed
@given(mutated(HONEST) | st.binary(max_size=200))
@example(FORM + b"Content-Length: 1000\r\n" + UPGRADE + b"\r\na=")
@example(FORM + b"Content-Length: 1000\r\n\r\na=")
@example(FORM + b"Transfer-Encoding: chunked\r\n\r\nff\r\na=")
@example(HONEST[0].replace(b"Key: A", b"Key:\x00 A"))
@example(b"POST /nowhere HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n")
@example(b"\xff" * 9000 + b"\r\n\r\n")
def test_a_connection_is_let_go_in_time_and_the_next_one_is_served(address: tuple[str, int], data: bytes) -> None:
    began = time.monotonic()
    with gevent.Timeout(IN_TIME_S):
        said = ask(address, data)
        assert b" 500 " not in said.partition(b"\r\n")[0]
        assert ask(address, b"GET /form HTTP/1.1\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 200")
    assert time.monotonic() - began < IN_TIME_S


def ask(address: tuple[str, int], data: bytes) -> bytes:
    """All that the server says, until it ends the connection; this side never does."""
    sock = gevent_socket.create_connection(address)
    said = b""
    with suppress(OSError):
        sock.sendall(data)
        while piece := sock.recv(65536):
            said += piece
    sock.close()
    return said

"""The HTTP side of the media socket: upgrades only what is one, waits for no slow client, keeps connections in use."""

import base64
import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import gevent
import pytest
from flask import Flask, Request, Response
from flask import request as flask_request
from gevent import socket as gevent_socket
from gevent.pywsgi import WSGIServer
from websockets.protocol import Side

from kav.wire.websocket import WebSocket
from kav.wire.websocket_server import AdmittingSock, WebSocketHandler
from tests.wire.peers import WAIT_S, Peer

KEY = base64.b64encode(b"a key of 16 byte").decode()
UPGRADE = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}
HEADER_TIMEOUT_S, KEEP_ALIVE_S, REQUEST_TIMEOUT_S = 0.2, 3.0, 0.6
GRACE_S = 2.0
"""How much later a busy machine may see it; with it the other timeouts still end before KEEP_ALIVE_S does."""


class ImpatientHandler(WebSocketHandler):
    """Waits as long as a test does."""

    header_timeout_s = HEADER_TIMEOUT_S
    keep_alive_s = KEEP_ALIVE_S
    request_timeout_s = REQUEST_TIMEOUT_S


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    app = Flask("server")
    app.add_url_rule("/plain", "plain", lambda: "plain")
    app.add_url_rule("/form", "form", lambda: flask_request.form.get("a", ""), methods=["POST"])

    def admit(upgrade: Request) -> Response | None:
        return Response("full\n", 503) if upgrade.headers.get("X-Full") else None

    @AdmittingSock(app, admit).route("/echo")
    def _echo(ws: WebSocket) -> None:
        while (message := ws.receive()) != b"crash":
            ws.send(message)
        raise RuntimeError("as the test wants it")

    server = WSGIServer(("127.0.0.1", 0), app, log=None, error_log=None, handler_class=ImpatientHandler)
    server.start()
    assert server.server_port is not None
    yield "127.0.0.1", server.server_port
    server.stop(timeout=1)


@pytest.fixture
def client(address: tuple[str, int]) -> Iterator[socket.socket]:
    sock = gevent_socket.create_connection(address)
    with gevent.Timeout(2 * WAIT_S):
        yield sock
    sock.close()


def request(path: str, headers: dict[str, str | None], version: str = "HTTP/1.1") -> bytes:
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([f"GET {path} {version}", *lines, "", ""]).encode()


def head(client: socket.socket) -> tuple[int, str]:
    """The status and the headers of the next answer."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        data = client.recv(1)
        assert data, f"the connection ended after {answer!r}"
        answer += data
    text = answer.decode()
    return int(text.split(" ")[1]), text.lower()


def body(client: socket.socket, headers: str) -> bytes:
    length = int(headers.split("content-length: ")[1].split("\r\n")[0])
    return b"".join(client.recv(1) for _ in range(length))


def until_dropped(client: socket.socket) -> float:
    """How long the server keeps the connection."""
    began = time.monotonic()
    with suppress(ConnectionError):
        while client.recv(4096):
            pass
    return time.monotonic() - began


def test_an_upgrade_is_answered_and_the_socket_speaks(client: socket.socket) -> None:
    client.sendall(request("/echo", dict(UPGRADE)))
    assert head(client)[0] == 101
    peer = Peer(client, Side.CLIENT)
    peer.send("שלום".encode())
    peer.read_until(lambda: bool(peer.messages))
    assert peer.messages == ["שלום".encode()]


def test_deflate_that_is_offered_is_not_taken(client: socket.socket) -> None:
    client.sendall(request("/echo", {**UPGRADE, "Sec-WebSocket-Extensions": "permessage-deflate"}))
    status, headers = head(client)
    assert status == 101
    assert "sec-websocket-extensions" not in headers


def test_who_is_not_admitted_gets_plain_http(client: socket.socket) -> None:
    client.sendall(request("/echo", {**UPGRADE, "X-Full": "yes"}))
    status, headers = head(client)
    assert (status, body(client, headers)) == (503, b"full\n")


def test_a_handler_that_fails_closes_with_1011(client: socket.socket) -> None:
    client.sendall(request("/echo", dict(UPGRADE)))
    head(client)
    peer = Peer(client, Side.CLIENT)
    peer.send(b"crash")
    peer.read_to_the_end()
    assert peer.close_code == 1011


@pytest.mark.parametrize(
    ("changes", "version"),
    [
        ({"Upgrade": None, "Connection": None}, "HTTP/1.1"),
        ({"Upgrade": "h2c"}, "HTTP/1.1"),
        ({"Connection": "keep-alive"}, "HTTP/1.1"),
        ({"Sec-WebSocket-Key": None}, "HTTP/1.1"),
        ({"Sec-WebSocket-Key": "short"}, "HTTP/1.1"),
        ({"Sec-WebSocket-Version": None}, "HTTP/1.1"),
        ({"Sec-WebSocket-Version": "8"}, "HTTP/1.1"),
        ({}, "HTTP/1.0"),
    ],
)
def test_what_is_no_upgrade_gets_a_plain_answer(
    client: socket.socket, changes: dict[str, str | None], version: str
) -> None:
    client.sendall(request("/echo", {**UPGRADE, **changes}, version))
    assert 400 <= head(client)[0] < 500


def test_a_connection_serves_one_request_after_the_other(client: socket.socket) -> None:
    for _ in range(2):
        client.sendall(request("/plain", {"Host": "localhost"}))
        status, headers = head(client)
        assert (status, body(client, headers)) == (200, b"plain")


def test_a_refused_upgrade_ends_its_connection(client: socket.socket) -> None:
    client.sendall(request("/echo", {**UPGRADE, "X-Full": "yes"}))
    head(client)
    assert until_dropped(client) < GRACE_S


@pytest.mark.parametrize("begun", [b"G", b"GET /plain HTTP/1.1\r\n", b"GET /plain HTTP/1.1\r\nHost: local"])
def test_half_sent_headers_are_dropped_after_the_header_timeout(client: socket.socket, begun: bytes) -> None:
    client.sendall(begun)
    assert HEADER_TIMEOUT_S / 2 < until_dropped(client) < HEADER_TIMEOUT_S + GRACE_S


def test_headers_that_trickle_in_do_not_buy_time(client: socket.socket) -> None:
    def trickle() -> None:
        with suppress(OSError):
            for byte in request("/plain", {"Host": "localhost", "X-Slow": "y" * 500}):
                client.sendall(bytes([byte]))
                gevent.sleep(0.02)

    slow = gevent.spawn(trickle)
    assert until_dropped(client) < HEADER_TIMEOUT_S + GRACE_S
    slow.kill()


@pytest.mark.parametrize("path", ["/form", "/plain", "/nowhere"])
@pytest.mark.parametrize("asks", [{}, {"Upgrade": "websocket", "Connection": "Upgrade"}])
def test_a_body_that_does_not_come_is_not_waited_for_whatever_the_request_asks_for(
    client: socket.socket, asks: dict[str, str | None], path: str
) -> None:
    """Whoever sends half a form, and perhaps says `Upgrade`, would otherwise hold a connection for ever."""
    form = {"Host": "localhost", "Content-Type": "application/x-www-form-urlencoded", "Content-Length": "1000", **asks}
    client.sendall(request(path, form).replace(b"GET", b"POST", 1) + b"a=")
    assert REQUEST_TIMEOUT_S / 2 < until_dropped(client) < REQUEST_TIMEOUT_S + GRACE_S


def test_a_body_that_trickles_in_does_not_buy_time(client: socket.socket) -> None:
    form = {"Host": "localhost", "Content-Type": "application/x-www-form-urlencoded", "Content-Length": "1000"}
    client.sendall(request("/form", {**form}).replace(b"GET", b"POST", 1))

    def trickle() -> None:
        with suppress(OSError):
            while True:
                client.sendall(b"a")
                gevent.sleep(0.02)

    slow = gevent.spawn(trickle)
    assert REQUEST_TIMEOUT_S / 2 < until_dropped(client) < REQUEST_TIMEOUT_S + GRACE_S
    slow.kill()


def test_an_idle_connection_is_dropped_after_a_while(client: socket.socket) -> None:
    assert KEEP_ALIVE_S / 2 < until_dropped(client) < KEEP_ALIVE_S + GRACE_S


def test_a_stream_is_not_dropped_by_the_timeouts_of_http(client: socket.socket) -> None:
    client.sendall(request("/echo", dict(UPGRADE)))
    head(client)
    peer = Peer(client, Side.CLIENT)
    gevent.sleep(KEEP_ALIVE_S + HEADER_TIMEOUT_S + REQUEST_TIMEOUT_S)  # the promise is that nothing happens meanwhile
    peer.send(b"still there")
    peer.read_until(lambda: bool(peer.messages))

"""flask-sock's API on gevent: `@sock.route("/path") def handler(ws)`, with an answer to whom, and how it ends.

    sock = AdmittingSock(app, admit)
    WSGIServer(address, app, handler_class=WebSocketHandler)

`admit(request)` runs before the upgrade and may answer it with plain HTTP (403, 503). The handler gets a
`kav.wire.websocket.WebSocket`; when it returns, or raises, the socket is closed properly.
"""

import logging
from collections.abc import Callable, Iterable
from functools import partial, wraps
from typing import Any, ClassVar, Final

import gevent
from flask import Flask, Request, Response, request
from flask_sock import Sock
from gevent.pywsgi import Input, WSGIHandler
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake
from websockets.http11 import Request as Handshake
from websockets.protocol import Side
from websockets.server import ServerProtocol

from kav.wire.websocket import INTERNAL_ERROR, Closed, WebSocket

MAX_MESSAGE_BYTES: Final = 256 * 1024
"""Twilio's frames are some 400 bytes; whoever sends a quarter of a megabyte is not Twilio."""

HEADER_TIMEOUT_S: Final = 10.0
"""How long a client may take to send its request's headers: a slow one would hold a connection for ever."""

REQUEST_TIMEOUT_S: Final = 20.0
"""How long a request may take from its headers to its answer, its body included; Twilio gives up after 15 s."""

KEEP_ALIVE_S: Final = 95.0
"""How long an idle connection is kept: longer than the router in front (Heroku: 90 s), which then closes first."""

SOCKET: Final = "kav.socket"
"""Key in the WSGI environment under which the connection's socket is found."""

EXTEND: Final = "kav.extend"
"""Key in the WSGI environment of a function that gives the answer REQUEST_TIMEOUT_S anew: for one that goes on and on,
piece by piece, and is given up when a single piece is not taken."""

ACCEPTED: Final = "kav.accepted"
"""Key in the WSGI environment of a function that ends REQUEST_TIMEOUT_S: the upgrade was accepted."""

log = logging.getLogger(__name__)

Admit = Callable[[Request], Response | None]


class AdmittingSock(Sock):  # type: ignore[misc]  # flask-sock ships no types
    """flask-sock with an admission hook before the upgrade, and Kav's own WebSocket behind it."""

    def __init__(self, app: Flask, admit: Admit) -> None:
        self._admit = admit
        super().__init__(app)

    def route(self, path: str, bp: Any = None, **options: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:  # noqa: ANN401 - flask-sock's signature
        """Register a WebSocket handler, as `flask_sock.Sock.route` does."""

        def decorate(handler: Callable[..., None]) -> Callable[..., None]:
            @wraps(handler)
            def view(*args: Any, **kwargs: Any) -> Response:  # noqa: ANN401 - whatever the route captures
                return self._admit(request) or _serve(handler, args, kwargs)

            (bp or self.app).route(path, websocket=True, **options)(view)
            return handler

        return decorate


def _serve(handler: Callable[..., None], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Response:
    sock = request.environ.get(SOCKET)
    if sock is None:
        return Response("This server speaks no WebSocket: start Kav with `python app.py`.\n", 501)
    refusal = _handshake(sock)
    if refusal is not None:
        return refusal
    request.environ[ACCEPTED]()
    ws = WebSocket(sock, Side.SERVER, max_message_bytes=MAX_MESSAGE_BYTES)
    try:
        handler(ws, *args, **kwargs)
    except Closed:
        pass
    except Exception:  # the greenlet's root: an HTTP 500 must not be written into an open WebSocket
        log.exception("media socket failed; it is closed with 1011")
        ws.close(INTERNAL_ERROR)
    finally:
        ws.finish()
    return _AlreadyAnswered()


def _handshake(sock: Any) -> Response | None:  # noqa: ANN401 - a gevent socket, TLS or not
    """Answer the upgrade; return what to say instead if it is none. No extensions: deflate is CPU and bombs."""
    if request.environ["SERVER_PROTOCOL"] == "HTTP/1.0":
        return Response("A WebSocket begins with HTTP/1.1.\n", 400)  # RFC 6455, section 4.1
    try:
        headers = Headers((name, value) for name, value in request.headers.items())
    except InvalidHandshake as error:
        return Response(f"{error}\n", 400, content_type="text/plain")
    protocol = ServerProtocol(extensions=None)
    response = protocol.accept(Handshake(request.full_path, headers))
    if response.status_code != 101:
        return Response(bytes(response.body or b""), response.status_code)
    protocol.send_response(response)
    sock.sendall(b"".join(protocol.data_to_send()))
    return None


class _AlreadyAnswered(Response):
    """What a WebSocket view returns: the answer went over the socket itself."""

    def __call__(self, *_: Any) -> Iterable[bytes]:  # noqa: ANN401 - WSGI
        return []


class WebSocketHandler(WSGIHandler):
    """pywsgi's handler: hands out its socket, bounds the wait for headers, reads no request after an upgrade."""

    header_timeout_s: ClassVar[float] = HEADER_TIMEOUT_S
    keep_alive_s: ClassVar[float] = KEEP_ALIVE_S
    request_timeout_s: ClassVar[float] = REQUEST_TIMEOUT_S
    _timer: Any = None

    def handle(self) -> None:
        """Serve one connection."""
        try:
            super().handle()
        except gevent.Timeout as timer:
            if timer is not self._timer:
                raise
        finally:
            self._stop_timer()

    def read_requestline(self) -> Any:  # noqa: ANN401 - pywsgi's signature
        """Wait for a request: long for its first byte, not long for the rest of its headers."""
        self._start_timer(self.keep_alive_s)
        self.rfile.peek(1)
        self._start_timer(self.header_timeout_s)
        return super().read_requestline()

    def get_environ(self) -> Any:  # noqa: ANN401 - pywsgi's signature
        """Return the WSGI environment, with the socket in it; called when the headers are complete."""
        environ = super().get_environ()
        environ[SOCKET] = self.socket
        environ[EXTEND] = partial(self._start_timer, self.request_timeout_s)
        environ[ACCEPTED] = self._stop_timer
        self._start_timer(self.request_timeout_s)  # whoever only says that it wants an upgrade gets no longer
        return environ

    def handle_one_response(self) -> None:
        """Answer; what follows an upgrade is no HTTP."""
        try:
            super().handle_one_response()
        finally:
            self._stop_timer()
        if (self.environ or {}).get("HTTP_UPGRADE", "").lower() == "websocket":
            self.close_connection = True

    def run_application(self) -> None:
        """Ask the application; of a request that takes too long nothing more is read, for it would take for ever."""
        try:
            super().run_application()
        except gevent.Timeout:
            self.wsgi_input = Input(self.rfile, 0)
            raise

    def handle_error(self, t: Any, v: Any, tb: Any) -> None:  # noqa: ANN401 - pywsgi's signature
        """End the connection of a client that was too slow without a word; anything else is an error."""
        if v is self._timer:
            self.close_connection = True
        else:
            super().handle_error(t, v, tb)

    def log_request(self) -> None:
        """Write no access log: calls have their own, with a name on every line."""

    def _start_timer(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = gevent.Timeout.start_new(seconds)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.close()

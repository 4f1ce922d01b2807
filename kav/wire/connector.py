"""Opens sockets to the OpenAI Realtime API (GA) over websocket-client, at whichever endpoint is worth asking.

connector = Connector([Endpoint("wss://api.openai.com/v1/realtime", "gpt-realtime-2.1", key)], timeout_s=5, rest_s=10)
route = connector.choose()
ws = route.open(caller)
"""

import hashlib
import hmac
import logging
import socket
import ssl
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import urlsplit

import websocket
from websockets.protocol import Side

from kav.call.breaker import LIMITED_S, Breaker
from kav.wire.websocket import WebSocket

TOO_MANY_REQUESTS: Final = 429
MAX_RETRY_AFTER_DIGITS: Final = 6

MAX_HANDSHAKE_BYTES: Final = 32 * 1024
"""An honest answer has one or two thousand."""

SHOWN_ERROR_CHARS: Final = 200
"""Of what went wrong with a handshake: it may quote what came."""

log = logging.getLogger(__name__)


class ConnectFailed(Exception):
    """The model's socket could not be opened; the message says why and what to look at.

    `limited_s`: for how long the model wants to be asked less, if it has said so.
    """

    def __init__(self, message: str, *, limited_s: float = 0.0) -> None:
        super().__init__(message)
        self.limited_s = limited_s


class LeftAlone(ConnectFailed):
    """Nobody was asked: whoever could be has failed again and again, a moment ago."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place where a model is served; `url` without the model."""

    url: str
    model: str
    key: str = field(repr=False)


class _Heard:
    """A socket that hears so much and no more, all else as it is."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self._left = sock, MAX_HANDSHAKE_BYTES

    def recv(self, size: int) -> bytes:
        """Return what came. Raises WebSocketException when there is no end of it."""
        data = self.sock.recv(size)
        self._left -= len(data)
        if self._left < 0:
            raise websocket.WebSocketException("its answer has no end")
        return data

    def __getattr__(self, name: str) -> object:
        return getattr(self.sock, name)


class _Bounded(websocket.WebSocket):
    """Reads its handshake byte by byte and never lets others run while there is more: a long one held up every call."""

    @property
    def sock(self) -> Any:  # noqa: ANN401 - the package's own attribute
        return self._heard

    @sock.setter
    def sock(self, sock: socket.socket | None) -> None:
        self._heard = None if sock is None else _Heard(sock)


class Route:
    """The way to one endpoint, and what is known of it from all calls."""

    def __init__(self, endpoint: Endpoint, timeout_s: float, rest_s: float, tls: ssl.SSLContext) -> None:
        self.endpoint, self.breaker = endpoint, Breaker(rest_s)
        self._timeout_s, self._tls = timeout_s, tls

    @property
    def model(self) -> str:
        """Which model is served there."""
        return self.endpoint.model

    def open(self, caller: str) -> WebSocket:
        """Open a socket for `caller`, whose number goes out only as a keyed hash (header OpenAI-Safety-Identifier).

        Raises:
            ConnectFailed: refused, not reachable, or not in time.
        """
        endpoint = self.endpoint
        identity = hmac.new(endpoint.key.encode(), caller.encode(), hashlib.sha256).hexdigest()
        try:
            client = websocket.create_connection(
                f"{endpoint.url}?model={endpoint.model}",
                timeout=self._timeout_s,
                header={"Authorization": f"Bearer {endpoint.key}", "OpenAI-Safety-Identifier": identity},
                sslopt={"context": self._tls, "do_handshake_on_connect": False},  # else a killed one stays open
                enable_multithread=False,
                redirect_limit=0,
                class_=_Bounded,
            )
        except websocket.WebSocketBadStatusException as error:
            limited_s = _retry_after_s(error) if error.status_code == TOO_MANY_REQUESTS else 0.0
            raise ConnectFailed(_explain(error.status_code), limited_s=limited_s) from None
        except (websocket.WebSocketException, OSError) as error:
            why = str(error)[:SHOWN_ERROR_CHARS]
            raise ConnectFailed(
                f"The model cannot be reached: {why}. Check OPENAI_REALTIME_URL and the network."
            ) from None
        sock = cast("_Heard", client.sock).sock
        sock.settimeout(None)
        return WebSocket(sock, Side.CLIENT, max_message_bytes=None)

    def failed(self, error: Exception | None = None) -> None:
        """A connection was not made, or came to nothing."""
        now = time.monotonic()
        if isinstance(error, ConnectFailed) and error.limited_s:
            self.limited(error.limited_s)
        if self.breaker.failed(now):
            host = urlsplit(self.endpoint.url).hostname
            log.error(
                "%s at %s has failed %d times in a row: new calls leave it alone, but for one now and then",
                *(self.model, host, self.breaker.failures),
            )

    def limited(self, for_s: float = LIMITED_S) -> None:
        """The model wants to be asked less."""
        now = time.monotonic()
        if not self.breaker.is_limited(now):
            log.warning("%s wants to be asked less for %.0f s: check limits and usage", self.model, for_s)
        self.breaker.limited(now, for_s)


class Connector:
    """Knows the ways to the model; keeps one TLS context, for building one stalls everybody for 15 ms.

    The first endpoint is asked as long as it answers, then the next one, until the first is worth a try again.
    """

    def __init__(
        self, endpoints: Sequence[Endpoint], timeout_s: float, rest_s: float, tls: ssl.SSLContext | None = None
    ) -> None:
        tls = tls or ssl.create_default_context()
        self._routes = [Route(endpoint, timeout_s, rest_s, tls) for endpoint in endpoints]

    def choose(self, tried: Sequence[Route] = (), *, insists: bool = False) -> Route:
        """Return whom to ask: somebody who was not `tried`, has not failed, and does not want to be asked less.

        `tried`: whom this call has asked in vain, in order; where that is everybody, who was asked longest ago.
        `insists`: a caller is in the middle of a call, for whom a try is better than none.

        Raises:
            LeftAlone: everybody has failed again and again; the message says for how long they are left alone.
        """
        now = time.monotonic()
        asked = {route: number for number, route in enumerate(tried, start=1)}
        by_hope = sorted(self._routes, key=lambda route: (asked.get(route, 0), route.breaker.is_limited(now)))
        chosen = next((route for route in by_hope if route.breaker.allows(now)), by_hope[0] if insists else None)
        if chosen is None:
            rest_s = min(route.breaker.rests_s(now) for route in self._routes)
            raise LeftAlone(f"The model has failed again and again; it is tried once more in {rest_s:.0f} s.")
        return chosen

    def has_another(self, tried: Collection[Route]) -> bool:
        """Whether there is somebody who was not tried."""
        return any(route not in tried for route in self._routes)


def _retry_after_s(error: websocket.WebSocketBadStatusException) -> float:
    """Return what the answer's Retry-After says, in seconds; a date, as HTTP allows, counts as none."""
    told = str((error.resp_headers or {}).get("retry-after", ""))
    known = told.isascii() and told.isdigit() and len(told) <= MAX_RETRY_AFTER_DIGITS
    return float(told) if known and int(told) else LIMITED_S


def _explain(status: int) -> str:
    remedies = {
        401: "Check OPENAI_API_KEY.",
        403: "The key has no access to this model: check OPENAI_REALTIME_MODEL and the project's permissions.",
        404: "Check OPENAI_REALTIME_URL and OPENAI_REALTIME_MODEL.",
        TOO_MANY_REQUESTS: "Rate limit or quota: check usage and billing.",
    }
    return f"The model refused the connection with HTTP {status}. {remedies.get(status, 'Try again later.')}"

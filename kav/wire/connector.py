"""Opens sockets to the OpenAI Realtime API (GA) over websocket-client, at whichever endpoint is worth asking.

connector = Connector([Endpoint("wss://api.openai.com/v1/realtime", "gpt-realtime-2.1", key)], timeout_s=5)
connection = connector.connect(caller)
"""

import hashlib
import hmac
import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import gevent
import websocket
from websockets.protocol import Side

from kav.call.breaker import Breaker
from kav.wire.websocket import WebSocket


class ConnectFailed(Exception):
    """The model's socket could not be opened; the message says why and what to look at.

    `limited`: the model says that there are too many requests.
    """

    def __init__(self, message: str, *, limited: bool = False) -> None:
        super().__init__(message)
        self.limited = limited


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place where a model is served; `url` without the model."""

    url: str
    model: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Connection:
    """A socket that was opened, and the model behind it."""

    ws: WebSocket
    model: str


class Connector:
    """Opens Realtime sockets; keeps one TLS context, for building one stalls everybody for 15 ms.

    The first endpoint is asked as long as it answers, then the next one, until the first is worth a try again. The last
    is asked whatever it has done: a caller is better served by a try than by none.
    """

    def __init__(self, endpoints: Sequence[Endpoint], timeout_s: float) -> None:
        self._endpoints = [(endpoint, Breaker()) for endpoint in endpoints]
        self._timeout_s = timeout_s
        self._tls = ssl.create_default_context()

    def connect(self, caller: str) -> Connection:
        """Open a socket for `caller`, whose number goes out only as a keyed hash (header OpenAI-Safety-Identifier).

        Raises:
            ConnectFailed: refused, not reachable, or not in time.
        """
        now, (*firsts, last) = time.monotonic(), self._endpoints
        endpoint, breaker = next((one for one in firsts if one[1].allows(now)), last)
        return self._connect(endpoint, breaker, caller)

    def _connect(self, endpoint: Endpoint, breaker: Breaker, caller: str) -> Connection:
        try:
            ws = self._open(endpoint, caller)
        except ConnectFailed as error:
            breaker.failed(time.monotonic(), limited=error.limited)
            raise
        except gevent.Timeout:
            breaker.failed(time.monotonic())
            raise
        breaker.succeeded()
        return Connection(ws, endpoint.model)

    def _open(self, endpoint: Endpoint, caller: str) -> WebSocket:
        identity = hmac.new(endpoint.key.encode(), caller.encode(), hashlib.sha256).hexdigest()
        try:
            client = websocket.create_connection(
                f"{endpoint.url}?model={endpoint.model}",
                timeout=self._timeout_s,
                header={"Authorization": f"Bearer {endpoint.key}", "OpenAI-Safety-Identifier": identity},
                sslopt={"context": self._tls},
                enable_multithread=False,
                redirect_limit=0,
            )
        except websocket.WebSocketBadStatusException as error:
            raise ConnectFailed(_explain(error.status_code), limited=error.status_code == 429) from None
        except (websocket.WebSocketException, OSError) as error:
            raise ConnectFailed(
                f"The model cannot be reached: {error}. Check OPENAI_REALTIME_URL and the network."
            ) from None
        sock = cast("socket.socket", client.sock)
        sock.settimeout(None)
        return WebSocket(sock, Side.CLIENT, max_message_bytes=None)


def _explain(status: int) -> str:
    remedies = {
        401: "Check OPENAI_API_KEY.",
        403: "The key has no access to this model: check OPENAI_REALTIME_MODEL and the project's permissions.",
        404: "Check OPENAI_REALTIME_URL and OPENAI_REALTIME_MODEL.",
        429: "Rate limit or quota: check usage and billing.",
    }
    return f"The model refused the connection with HTTP {status}. {remedies.get(status, 'Try again later.')}"

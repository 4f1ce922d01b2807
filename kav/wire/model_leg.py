"""The model's side of a call: one connection, from before the caller is there to its FIN.

A leg is started by the voice webhook (prewarm), so that the model is configured when the caller's audio begins, and is
claimed by the stream. Its greenlet is the one that reads the model's socket. Decides nothing about the call.
"""

import logging
import time
from collections import deque
from collections.abc import Iterable
from typing import Any, ClassVar, Final, Protocol

import gevent
from gevent.event import Event

from kav.call.events import ResponseDone
from kav.call.replies import RATE_LIMIT_CODES
from kav.log import about
from kav.wire.connector import ConnectFailed, Connector, Route
from kav.wire.realtime import (
    ErrorEvent,
    MalformedEvent,
    RateLimited,
    Said,
    SessionUpdated,
    Translated,
    append_audio,
    session_update,
    translate,
)
from kav.wire.websocket import Closed, WebSocket

MAX_GARBAGE: Final = 20
"""Unreadable events after which a model is taken for lost: one may be a new event, twenty are a broken peer."""

log = logging.getLogger(__name__)


class ConfigurationRefused(Closed):
    """The model is there, and does not take what it was configured with: no fault of the endpoint's."""


class Listener(Protocol):
    """Who a leg tells what the model does; every method returns at once."""

    def model_ready(self, at: float) -> None:
        """The model confirmed its configuration."""

    def model_said(self, at: float, said: Said) -> None:
        """The model sent an event; None for one that means nothing to a call."""

    def model_lost(self, at: float, detail: str) -> None:
        """The model cannot go on; nothing more will come."""


class ModelLeg:
    """One connection to the model for the call `call_sid`."""

    open_count: ClassVar[int] = 0
    """Legs whose socket is not released yet, in the whole process."""

    def __init__(
        self,
        call_sid: str,
        connector: Connector,
        session: dict[str, Any],
        caller: str,
        configure_timeout_s: float,
        *,
        attempts: int = 1,
        insists: bool = False,
        tried: Iterable[Route] = (),
    ) -> None:
        """`attempts`: how often to connect at the most; at the same endpoint only while a stream is waiting.

        `insists`: the caller is in the middle of a call. `tried`: whom the call has asked in vain before.
        """
        self._call_sid = call_sid
        self._connector = connector
        self._session = session
        self._caller = caller
        self._timeout_s = configure_timeout_s
        self._attempts, self._insists, self._tried = attempts, insists, list(tried)
        self._route: Route | None = None
        self._blamed = self._proved = False
        """Whether the endpoint was told that this connection came to nothing, or that it did what it was asked."""
        self._listener: Listener | None = None
        self._ws: WebSocket | None = None
        self._ready = False
        self._closed = False
        self._waiting_audio: deque[bytes] = deque()
        self._garbage = 0
        self._done = Event()
        self.lost: str | None = None
        """Why the model cannot go on, once that is so."""
        self._greenlet = gevent.spawn(self._run)

    @property
    def model(self) -> str:
        """Which model is behind the connection; empty while there is none."""
        return self._route.model if self._route is not None else ""

    @property
    def tried(self) -> tuple[Route, ...]:
        """Whom the call has asked in vain, in order: not one that has answered and whose connection then broke."""
        return tuple(route for route in self._tried if not (self._proved and route is self._route))

    def claim(self, listener: Listener) -> None:
        """Hand the leg to a stream, which is told at once what it has missed."""
        self._listener = listener
        if self.lost is not None:
            listener.model_lost(time.monotonic(), self.lost)
        elif self._ready:
            listener.model_ready(time.monotonic())

    def disown(self) -> None:
        """Tell nobody anything any more, and close: it was given up.

        If the connection holds, it is the endpoint that does not do what it is asked, whatever it did before.
        """
        self._listener = None
        if self.lost is None:
            self._proved = False
        self._blame()
        self.close()

    def append(self, payload: bytes) -> None:
        """Pass on the caller's audio (quoted base64); what comes before the model is ready is kept for it."""
        if self._ready and self._ws is not None:
            self._ws.send(append_audio(payload))
        elif not self._closed and self.lost is None:
            self._waiting_audio.append(payload)  # bounded by the configuration's timeout

    def send(self, message: bytes) -> None:
        """Send a client event."""
        if self._ws is not None:
            self._ws.send(message)

    @property
    def waiting_bytes(self) -> int:
        """How much waits for the model to read."""
        return self._ws.waiting_bytes if self._ws is not None else 0

    def stalled(self, now: float, limit_s: float) -> bool:
        """Whether the model has stopped reading."""
        return self._ws is not None and self._ws.stalled(now, limit_s)

    def close(self) -> None:
        """Begin to close, without waiting; also while the connection is only being made."""
        if self._closed:
            return
        self._closed = True
        self._waiting_audio.clear()
        if self._ws is not None:
            self._ws.close()
        else:
            self._greenlet.kill(block=False)
            self._done.set()

    def wait_fin(self, timeout_s: float) -> float | None:
        """Wait until the FIN is on its way; return when that was, or None if there was nothing to close."""
        if self._ws is None:
            return None
        self._ws.wait_fin(timeout_s)
        return self._ws.fin_at

    def wait_done(self, timeout_s: float) -> None:
        """Wait until the socket is released."""
        self._done.wait(timeout_s)

    # The reading greenlet

    def _run(self) -> None:
        about(self._call_sid)
        try:
            self._read(self._open())
        except (ConnectFailed, Closed) as error:
            self._lose(str(error))
        except Exception as error:  # the greenlet's root: the caller must not be left with a silent line
            log.exception("model leg failed", extra={"call_sid": self._call_sid})
            self._lose(f"{type(error).__name__} in Kav itself; its log has the traceback.")
        finally:
            self._release()
            self._done.set()

    def _open(self) -> WebSocket:
        """Connect and configure, all within one time: at another endpoint, if there is one, when the first fails.

        While a stream is waiting the same one is asked once more: a refusal may have been a passing one.
        """
        until = time.monotonic() + self._timeout_s
        while True:
            route = self._connector.choose(self._tried, insists=self._insists)
            self._tried.append(route)
            self._attempts -= 1
            spare = self._attempts > 0 and self._connector.has_another(self._tried)
            left_s = until - time.monotonic()
            try:
                return self._attempt(route, left_s / 2 if spare else left_s)
            except (ConnectFailed, Closed) as error:
                late = time.monotonic() >= until
                if self._closed or late or not self._attempts or not (spare or self._listener is not None):
                    raise
                log.warning("model not reached, trying once more: %s", error, extra={"call_sid": self._call_sid})
                if self._ws is not None:
                    gevent.spawn(_let_go, self._ws)  # a peer that is silent takes its time over that, too
                    self._ws = None

    def _attempt(self, route: Route, within_s: float) -> WebSocket:
        self._route, self._blamed = route, False
        timer = gevent.Timeout(within_s)
        try:
            with timer:
                ws = self._ws = route.open(self._caller)
                ModelLeg.open_count += 1
                self._configure(ws, route.model)
        except gevent.Timeout as over:
            if over is not timer:
                raise
            self._blame()
            raise ConnectFailed(
                f"The model was not ready within {within_s:.1f} s: check the network and the model's status."
            ) from None
        except ConfigurationRefused:
            self._blamed = True  # nothing to tell of the endpoint
            raise
        except (ConnectFailed, Closed) as error:
            if not self._closed:
                self._blame(error)
            raise
        route.breaker.answered()
        return ws

    def _blame(self, error: Exception | None = None) -> None:
        """Have the endpoint known as one that failed, once for a connection that never did what it was asked."""
        if self._route is not None and not (self._proved or self._blamed or self._closed):
            self._blamed = True
            self._route.failed(error)

    def _release(self) -> None:
        if self._ws is not None:
            _let_go(self._ws)

    def _configure(self, ws: WebSocket, model: str) -> None:
        """Send the configuration and wait until the model confirms it; only then does it understand mu-law."""
        ws.send(session_update(self._session, model))
        while True:
            said = self._translate(ws.receive(), time.monotonic())
            if isinstance(said, ErrorEvent):
                raise ConfigurationRefused(
                    f"The model refused its configuration: {said.error.code}: {said.error.message}"
                )
            if isinstance(said, SessionUpdated):
                break
        if not said.speaks_pcmu:
            raise Closed("The model did not take audio/pcmu both ways: the caller would hear noise.")
        while self._waiting_audio:  # a frame that comes while these are being written waits behind them
            ws.send(append_audio(self._waiting_audio.popleft()))
        self._ready = True
        if self._listener is not None:
            self._listener.model_ready(time.monotonic())

    def _read(self, ws: WebSocket) -> None:
        while True:
            message = ws.receive()
            at = time.monotonic()
            said = self._translate(message, at)
            self._learn(said)
            if self._listener is not None:
                self._listener.model_said(at, None if isinstance(said, RateLimited) else said)

    def _learn(self, said: Translated) -> None:
        """Have known of the endpoint what its events tell: whether it works, and whether it is asked too much."""
        if self._route is None:
            return
        if isinstance(said, RateLimited):
            self._route.limited(said.for_s)
        elif isinstance(said, ResponseDone):
            if said.status == "failed" and said.detail in RATE_LIMIT_CODES:
                self._route.limited()
            elif said.status == "completed" and not self._proved:
                self._proved = True
                self._route.breaker.worked()

    def _translate(self, message: bytes, at: float) -> Translated:
        try:
            return translate(at, message)
        except MalformedEvent as error:
            self._garbage += 1
            log.warning("model sent what cannot be read: %s", error, extra={"call_sid": self._call_sid})
            if self._garbage >= MAX_GARBAGE:
                raise Closed(f"The model sent {self._garbage} messages that cannot be read.") from None
            return None

    def _lose(self, detail: str) -> None:
        self.lost = detail
        if self._closed:
            return
        self._blame()
        log.warning("model lost: %s", detail, extra={"call_sid": self._call_sid})
        if self._listener is not None:
            self._listener.model_lost(time.monotonic(), detail)


def _let_go(ws: WebSocket) -> None:
    ws.finish()
    ModelLeg.open_count -= 1

"""The model stand-in: a strict OpenAI Realtime (GA) server on loopback, many sessions in one asyncio loop.

    async with ModelServer(lambda info: ObedientScript(["שלום, במה אפשר לעזור?"])) as model:
        ...                                  # Kav runs with OPENAI_REALTIME_URL=model.url
        session = await model.wait_for_session(1)
        await session.wait_for("response.done")
        assert not model.violations

`script_for(info)` is asked once a session; `speak(text, language)` gives the voice (mu-law, 8 kHz); without one the
model hums. `faults` hold for every session, `next_faults(...)` for the next ones, one each, and `faults_for(headers)`
for those whose upgrade has such headers (names in lower case).
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from ssl import SSLContext
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

from websockets.http11 import Request

from rehearsal.model.faults import Faults, Tuning
from rehearsal.model.mulaw import hum
from rehearsal.model.rules import RuleError, Violation
from rehearsal.model.script import ObedientScript, Script, SessionInfo, Speak
from rehearsal.model.session import ModelSession
from rehearsal.websocket import Peer, Server, serve

PATH = "/v1/realtime"
_STATUS = {"key-missing": 401, "model-missing": 400, "beta-header": 400}


class ModelServer:
    """See the module. `api_key` None accepts any key, as long as there is one."""

    def __init__(
        self,
        script_for: Callable[[SessionInfo], Script] = lambda _info: ObedientScript(),
        *,
        speak: Speak = hum,
        faults: Faults | None = None,
        tuning: Tuning | None = None,
        api_key: str | None = None,
        port: int = 0,
        ssl: SSLContext | None = None,
        delay_s: float = 0,
    ) -> None:
        self.script_for = script_for
        self.speak = speak
        self.faults = faults or Faults()
        self.faults_for: Callable[[Mapping[str, str]], Faults | None] = lambda _headers: None
        self.tuning = tuning or Tuning()
        self.sessions: list[ModelSession] = []
        self.refusals: list[Violation] = []  # rules broken by an upgrade, before there was a session
        self._api_key = api_key
        self._port = port
        self._ssl = ssl
        self._delay_s = delay_s
        self._next_faults: deque[Faults] = deque()
        self._admitted: dict[int, Faults] = {}
        self._server: Server | None = None
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    @property
    def url(self) -> str:
        """For OPENAI_REALTIME_URL."""
        return f"{'wss' if self._ssl else 'ws'}://127.0.0.1:{self._port}{PATH}"

    @property
    def violations(self) -> list[Violation]:
        """Every broken rule of every session, and of upgrades that were refused for one."""
        return [*self.refusals, *(violation for session in self.sessions for violation in session.violations)]

    @property
    def open_sessions(self) -> int:
        """Sessions whose clients have sent neither FIN nor RST."""
        return sum(session.is_open for session in self.sessions)

    @property
    def open_connections(self) -> int:
        """TCP connections, upgrades under way included."""
        return len(self._server.peers) if self._server else 0

    def next_faults(self, *faults: Faults) -> None:
        """Faults of the next sessions (or upgrades), one each, in place of `faults`."""
        self._next_faults.extend(faults)

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Nobody is there meanwhile: connections are refused. Sessions that are open go on."""
        if self._server is None:
            raise RuntimeError("The model is not up yet: use it as `async with ModelServer(...) as model`")
        async with self._server.away():
            yield

    async def wait_for_session(self, number: int = 1, timeout_s: float = 5) -> ModelSession:
        """The `number`th session, counted from 1, when it has begun. Raises TimeoutError."""
        if len(self.sessions) < number:
            arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((number, arrived))
            try:
                await asyncio.wait_for(arrived, timeout_s)
            except TimeoutError:
                message = f"No model session number {number} within {timeout_s} s; there are {len(self.sessions)}"
                raise TimeoutError(message) from None
        return self.sessions[number - 1]

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._session, port=self._port, process_request=self._upgrade, ssl=self._ssl, delay_s=self._delay_s
        )
        self._port = self._server.port
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            await self._server.close()

    async def _upgrade(self, request: Request) -> tuple[int, str] | None:
        faults = self._next_faults.popleft() if self._next_faults else self.faults_for(_headers(request)) or self.faults
        if faults.upgrade_after_s:
            await asyncio.sleep(faults.upgrade_after_s)
        if faults.refuse_status is not None:
            return faults.refuse_status, _error_body("on_demand", f"HTTP {faults.refuse_status} on demand")
        if urlsplit(request.path).path != PATH:
            return 404, _error_body("not_found", f"There is nothing at {request.path}; the API is at {PATH}")
        try:
            check_upgrade(request, self._api_key)
        except RuleError as error:
            event = {"path": request.path}
            self.refusals.append(Violation(error.rule.id, error.message, event, asyncio.get_running_loop().time()))
            return _STATUS[error.rule.id], _error_body(error.rule.code, error.message)
        self._admitted[id(request)] = faults
        return None

    async def _session(self, peer: Peer) -> None:
        assert peer.request is not None
        model = parse_qs(urlsplit(peer.request.path).query)["model"][0]
        faults = self._admitted.pop(id(peer.request))
        session = ModelSession(self, peer, len(self.sessions) + 1, model, faults)
        session.script = self.script_for(SessionInfo(_headers(peer.request), model, session))
        self.sessions.append(session)
        for waiting in [waiting for waiting in self._waiting if waiting[0] <= len(self.sessions)]:
            self._waiting.remove(waiting)
            if not waiting[1].done():
                waiting[1].set_result(None)
        await session.run()


def _headers(request: Request) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.raw_items()}


def check_upgrade(request: Request, api_key: str | None) -> None:
    """Hold an upgrade request to what OpenAI asks of one. Raises RuleError."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer" or not key or (api_key is not None and key != api_key):
        raise RuleError("key-missing", "Incorrect API key provided.")
    if "OpenAI-Beta" in request.headers:
        raise RuleError("beta-header", "The Realtime beta API is gone; leave the OpenAI-Beta header out.")
    if not parse_qs(urlsplit(request.path).query).get("model"):
        raise RuleError("model-missing", "You must provide a model parameter.", "model")


def _error_body(code: str | None, message: str) -> str:
    return json.dumps({"error": {"type": "invalid_request_error", "code": code, "message": message, "param": None}})

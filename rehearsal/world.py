"""A telephone world on one machine: Twilio, the model, and a real Kav between them.

async with World() as world:
    call = await world.call(ObedientScript(["השעה שלוש."]))
    await call.until_heard(500)
    session = await world.session_of(call)
"""

import asyncio
import hashlib
import hmac
import itertools
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from rehearsal.kav import KavProcess, free_port
from rehearsal.model import Faults, ModelServer, ModelSession, ObedientScript, Script, SessionInfo, Tuning
from rehearsal.model.mulaw import hum
from rehearsal.model.script import Speak
from rehearsal.twilio import ACCOUNT_SID, Call, CallScript, Twilio

AUTH_TOKEN = "twilio-auth-token-of-the-rehearsal"
OPENAI_KEY = "sk-rehearsal"
IDENTITY_HEADER = "openai-safety-identifier"
WAIT_S = 10.0


class World:
    """Everything a call needs, on loopback. `settings` are Kav's; `faults` and `tuning` the model's."""

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        faults: Faults | None = None,
        tuning: Tuning | None = None,
        speak: Speak = hum,
        model_delay_s: float = 0.0,
    ) -> None:
        self._scripts: dict[str, Script] = {}
        self._numbers = itertools.count(501_000_001)
        self._session_of: dict[str, list[ModelSession]] = {}
        self._faults: dict[str, deque[Faults]] = {}
        self._upgrades: Counter[str] = Counter()
        port = free_port()
        self.model = ModelServer(
            self._script_for, speak=speak, faults=faults, tuning=tuning, api_key=OPENAI_KEY, delay_s=model_delay_s
        )
        self.model.faults_for = self._faults_for
        self.twilio = Twilio(f"http://127.0.0.1:{port}", AUTH_TOKEN, voice=speak)
        self._settings = dict(settings or {})
        self._port = port
        self._open = AsyncExitStack()
        self._kav: KavProcess | None = None

    @property
    def kav(self) -> KavProcess:
        """The process under rehearsal."""
        if self._kav is None:
            raise RuntimeError("The world is not up: use it as `async with World() as world`")
        return self._kav

    async def __aenter__(self) -> Self:
        await self._open.enter_async_context(self.model)
        await self._open.enter_async_context(self.twilio)
        self._kav = await self._open.enter_async_context(KavProcess(self._environment(), port=self._port))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    def _environment(self) -> dict[str, str]:
        return {
            "PUBLIC_BASE_URL": f"http://127.0.0.1:{self._port}",
            "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
            "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
            "TWILIO_API_BASE_URL": self.twilio.rest_url,
            "OPENAI_API_KEY": OPENAI_KEY,
            "OPENAI_REALTIME_URL": self.model.url,
            "KAV_DEFAULT_NUMBERS": "*",
            **self._settings,
        }

    async def call(
        self, script: Script | None = None, line: CallScript | None = None, faults: Iterable[Faults] = ()
    ) -> Call:
        """Somebody calls; `script` is what the model will know of it. Every caller has a number of their own.

        `faults` are those of the call's connections to the model, one each, in the order in which Kav opens them.
        """
        number = f"+972{next(self._numbers)}"
        self._scripts[_identity(number)] = script or ObedientScript()
        self._faults[_identity(number)] = deque(faults)
        return await self.twilio.call(number, script=line)

    async def connected_call(
        self, script: Script | None = None, line: CallScript | None = None, faults: Iterable[Faults] = ()
    ) -> Call:
        """A call whose stream has started."""
        call = await self.call(script, line, faults)
        await call.until_streaming()
        return call

    def sessions_of(self, call: Call) -> list[ModelSession]:
        """The model's sessions that were opened for a call, oldest first."""
        return self._session_of.get(_identity(call.order.from_), [])

    def upgrades_of(self, call: Call) -> int:
        """How often a connection to the model was asked for on behalf of a call, those refused included."""
        return self._upgrades[_identity(call.order.from_)]

    async def session_of(self, call: Call, number: int = 1, timeout_s: float = WAIT_S) -> ModelSession:
        """Wait for the model's `number`th session of a call. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while len(self.sessions_of(call)) < number:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no model session number {number} for {call.sid}: {self.kav.log()}")
            await asyncio.sleep(0.005)
        return self.sessions_of(call)[number - 1]

    def _script_for(self, info: SessionInfo) -> Script:
        identity = info.safety_identifier or ""
        self._session_of.setdefault(identity, []).append(info.session)
        return self._scripts.get(identity) or ObedientScript()

    def _faults_for(self, headers: Mapping[str, str]) -> Faults | None:
        identity = headers.get(IDENTITY_HEADER, "")
        self._upgrades[identity] += 1
        waiting = self._faults.get(identity)
        return waiting.popleft() if waiting else None


def _identity(number: str) -> str:
    """What Kav tells the model of a caller: a keyed hash of the number (header OpenAI-Safety-Identifier)."""
    return hmac.new(OPENAI_KEY.encode(), number.encode(), hashlib.sha256).hexdigest()

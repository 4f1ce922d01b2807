"""A telephone world on one machine: Twilio, the model, and a real Kav between them.

    async with World() as world:
        call = await world.call(ObedientScript(["השעה שלוש."]))
        await call.until_heard(500)
        session = await world.session_of(call)

Its Kav is one that it starts itself, as an operator would, with Twilio's signatures (`World(settings)`) or without any
account, as on a newcomer's laptop (`World(settings, signed=False)`), or one that runs already (`elsewhere=...`).
"""

import asyncio
import hashlib
import hmac
import itertools
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rehearsal.kav import KavProcess
from rehearsal.model import Faults, ModelServer, ModelSession, ObedientScript, Script, SessionInfo, Tuning
from rehearsal.model.mulaw import hum
from rehearsal.model.script import Speak
from rehearsal.ports import free_port
from rehearsal.tools import SECRETS, ToolServer
from rehearsal.twilio import ACCOUNT_SID, NUMBER, Call, CallScript, Twilio

AUTH_TOKEN = "twilio-auth-token-of-the-rehearsal"
OPENAI_KEY = "sk-rehearsal"
IDENTITY_HEADER = "openai-safety-identifier"
WAIT_S = 10.0


@dataclass(frozen=True)
class Elsewhere:
    """A Kav that somebody else runs: where it is, what it calls itself if that is not the same, its Twilio account."""

    url: str
    public_url: str = ""
    auth_token: str = ""
    account_sid: str = ACCOUNT_SID


class NotPlaced(Exception):
    """Kav did not place a call that it was asked for; the message has its answer."""


class World:
    """Everything a call needs, on loopback. `settings` are Kav's; `faults` and `tuning` the model's.

    `port` is Kav's and `model_port` the model stand-in's, 0 for any that is free.
    """

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        faults: Faults | None = None,
        tuning: Tuning | None = None,
        speak: Speak = hum,
        model_delay_s: float = 0.0,
        signed: bool = True,
        elsewhere: Elsewhere | None = None,
        port: int = 0,
        model_port: int = 0,
    ) -> None:
        self._scripts: dict[str, Script] = {}
        self._numbers = itertools.count(501_000_001)
        self._sessions: dict[str, list[ModelSession]] = {}
        self._faults: dict[str, deque[Faults]] = {}
        self._upgrades: Counter[str] = Counter()
        self._port = port or free_port()
        self._signed = signed
        self._elsewhere = elsewhere
        self.model = ModelServer(
            self._script_for,
            speak=speak,
            faults=faults,
            tuning=tuning,
            api_key=OPENAI_KEY if signed and elsewhere is None else None,
            port=model_port,
            delay_s=model_delay_s,
        )
        self.model.faults_for = self._faults_for
        kav = elsewhere or Elsewhere(f"http://127.0.0.1:{self._port}", auth_token=AUTH_TOKEN if signed else "")
        self.twilio = Twilio(
            kav.url, kav.auth_token or None, kav.account_sid, public_url=kav.public_url or None, voice=speak
        )
        self._lines: dict[str, CallScript] = {}
        self.twilio.script_for = lambda to: self._lines.get(to, CallScript())
        self.tools = ToolServer()
        self._settings = dict(settings or {})
        self._open = AsyncExitStack()
        self._kav: KavProcess | None = None

    @property
    def owns_kav(self) -> bool:
        """Whether this world has started its Kav itself, so that its log and its records can be read."""
        return self._kav is not None

    @property
    def kav(self) -> KavProcess:
        """The process under rehearsal."""
        if self._kav is None:
            raise RuntimeError("This world has no Kav of its own: use `async with World() as world`, not `elsewhere`")
        return self._kav

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:  # what is open when something else fails is closed again
            await opening.enter_async_context(self.model)
            await opening.enter_async_context(self.twilio)
            await opening.enter_async_context(self.tools)
            if self._elsewhere is None:
                self._kav = await opening.enter_async_context(KavProcess(self._environment(), port=self._port))
            self._open = opening.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    def _environment(self) -> dict[str, str]:
        account = {
            "PUBLIC_BASE_URL": f"http://127.0.0.1:{self._port}",
            "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
            "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
            "TWILIO_API_BASE_URL": self.twilio.rest_url,
            "OPENAI_API_KEY": OPENAI_KEY,
            "KAV_DEFAULT_NUMBERS": "*",
            "CALLS_PER_MINUTE": "1000",
        }
        told = {"HUB_LAG_SHED_MS": "0"}  # this machine carries Twilio and the model besides: it may be late
        mode = account if self._signed else {"KAV_REHEARSAL": "1"}
        services = {"KAV_TOOLS_URL": self.tools.url, **SECRETS}
        return {**mode, **told, "OPENAI_REALTIME_URL": self.model.url, **services, **self._settings}

    async def call(
        self,
        script: Script | None = None,
        line: CallScript | None = None,
        faults: Iterable[Faults] = (),
        *,
        from_: str = "",
        to: str = NUMBER,
    ) -> Call:
        """Somebody calls; `script` is what the model will know of it. Every caller has a number of their own.

        `faults` are those of the call's connections to the model, one each, in the order in which Kav opens them.
        Raises ValueError when `from_` has called in this world before: the model could not tell the two calls apart.
        """
        number = from_ or f"+972{next(self._numbers)}"
        if number in self._scripts:
            raise ValueError(f"{number} has called already: give every call of a world a caller of its own")
        self._scripts[number] = script or ObedientScript()
        self._faults[number] = deque(faults)
        return await self.twilio.call(number, to, script=line)

    async def place_call(
        self,
        script: Script | None = None,
        line: CallScript | None = None,
        faults: Iterable[Faults] = (),
        *,
        flow: str,
        to: str = "",
        variables: Mapping[str, str] | None = None,
    ) -> Call:
        """Kav is asked to call somebody; every one of them has a number of their own. At any hour, for tests have none.

        Raises NotPlaced when Kav does not do it, ValueError as `call` does.
        """
        number = to or f"+972{next(self._numbers)}"
        if number in self._scripts:
            raise ValueError(f"{number} was in a call already: give every call of a world a person of its own")
        self._scripts[number] = script or ObedientScript()
        self._faults[number] = deque(faults)
        self._lines[number] = line or CallScript()
        body = {"to": number, "flow": flow, "variables": dict(variables or {}), "anytime": True}
        status, said = await self.kav.ask("POST", "/calls", body)
        if status != 201:
            raise NotPlaced(f"POST /calls answered {status}: {said}")
        return next(call for call in self.twilio.calls if call.sid == said["call_sid"])

    def expect(self, person: str, script: Script | None = None, faults: Iterable[Faults] = ()) -> int:
        """Kav will talk with `person` without Twilio; `script` is what the model will know of it.

        Returns the number of the model's session that this will be, for `session_with`.
        """
        self._scripts[person] = script or ObedientScript()
        self._faults[person] = deque(faults)
        return len(self._sessions.get(person, [])) + 1

    async def connected_call(
        self, script: Script | None = None, line: CallScript | None = None, faults: Iterable[Faults] = ()
    ) -> Call:
        """A call whose stream has started."""
        call = await self.call(script, line, faults)
        await call.until_streaming()
        return call

    def sessions_of(self, call: Call) -> list[ModelSession]:
        """The model's sessions that were opened for a call, oldest first."""
        return self._sessions.get(_person(call), [])

    def upgrades_of(self, call: Call) -> int:
        """How often a connection to the model was asked for on behalf of a call, those refused included."""
        return self._upgrades[_person(call)]

    async def session_of(self, call: Call, number: int = 1, timeout_s: float = WAIT_S) -> ModelSession:
        """Wait for the model's `number`th session of a call. Raises TimeoutError."""
        return await self.session_with(_person(call), number, timeout_s)

    async def session_with(self, person: str, number: int = 1, timeout_s: float = WAIT_S) -> ModelSession:
        """Wait for the model's `number`th session with somebody. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while len(self._sessions.get(person, [])) < number:
            if time.monotonic() > deadline:
                log = self.kav.log() if self.owns_kav else "its Kav runs elsewhere; read its log"
                raise TimeoutError(f"no model session number {number} with {person}: {log}")
            await asyncio.sleep(0.005)
        return self._sessions[person][number - 1]

    def _script_for(self, info: SessionInfo) -> Script:
        number = self._caller_of(info.headers)
        self._sessions.setdefault(number, []).append(info.session)
        return self._scripts.get(number) or ObedientScript()

    def _faults_for(self, headers: Mapping[str, str]) -> Faults | None:
        number = self._caller_of(headers)
        self._upgrades[number] += 1
        waiting = self._faults.get(number)
        return waiting.popleft() if waiting else None

    def _caller_of(self, headers: Mapping[str, str]) -> str:
        """Whom a connection to the model is for, "" for somebody unknown; its key is whatever that Kav was given."""
        key, identity = headers.get("authorization", "").removeprefix("Bearer "), headers.get(IDENTITY_HEADER)
        return next((number for number in self._scripts if _identity(number, key) == identity), "")


def _person(call: Call) -> str:
    """The number of whoever the bot talks with."""
    return call.order.from_ if call.order.direction == "inbound" else call.order.to


def _identity(number: str, key: str) -> str:
    """What Kav tells the model of a caller: a keyed hash of the number (header OpenAI-Safety-Identifier)."""
    return hmac.new(key.encode(), number.encode(), hashlib.sha256).hexdigest()

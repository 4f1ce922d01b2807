"""Several Kavs behind one address, one Redis, one database: calls wander between the processes as requests do."""

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from rehearsal.kav import KavProcess
from rehearsal.servers.redis import RedisServer
from rehearsal.twilio import ACCOUNT_SID, Call
from rehearsal.world import AUTH_TOKEN, OPENAI_KEY, Elsewhere, World
from tests.line.listening import Talk, noise
from tests.line.test_conversation import LOCKSMITH, Judging
from tests.redis.crossroads import Crossroads

T = TypeVar("T")

WAIT_S = 15.0
LOST, ATTEMPTS = "Redis cannot be reached", 3
VOICE, MEDIA, STATUS, AFTER = "/twilio/voice", "/twilio/media", "/twilio/status", "/twilio/after-stream"

QUICK = {
    "VAD_SILENCE_MS": "200",
    "HANGUP_FALLBACK_S": "5",
    "MEDIA_SILENCE_S": "3",
    "MODEL_RECONNECTS": "0",
    "DRAIN_SECONDS": "0",
    "SILENCE_ASK_S": "30",
    "SILENCE_CLOSE_S": "60",
}


class Town:
    """So many Kavs; `settings` are those of each."""

    def __init__(self, kavs: int = 2, settings: Mapping[str, str] | None = None) -> None:
        self.redis = RedisServer()
        self.crossroads = Crossroads()
        self.kavs: list[KavProcess] = []
        self._wanted, self._settings = kavs, {**QUICK, **(settings or {})}
        self._open = AsyncExitStack()
        self._world: World | None = None
        self._database = Path()

    @property
    def world(self) -> World:
        assert self._world is not None, "use it as `async with Town() as town`"
        return self._world

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            self.redis.start()
            opening.callback(self.redis.stop)
            folder = opening.enter_context(tempfile.TemporaryDirectory(prefix="kav-town-", ignore_cleanup_errors=True))
            self._database = Path(folder) / "kav.db"
            await opening.enter_async_context(self.crossroads)
            self._world = await opening.enter_async_context(
                World(elsewhere=Elsewhere(self.crossroads.url, auth_token=AUTH_TOKEN))
            )
            for _ in range(self._wanted):
                self.kavs.append(await opening.enter_async_context(KavProcess(self._environment())))
            self.crossroads.ports = [kav.port for kav in self.kavs]
            self._open = opening.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    def _environment(self) -> dict[str, str]:
        return {
            "PUBLIC_BASE_URL": self.crossroads.url,
            "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
            "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
            "TWILIO_API_BASE_URL": self.world.twilio.rest_url,
            "OPENAI_API_KEY": OPENAI_KEY,
            "OPENAI_REALTIME_URL": self.world.model.url,
            "KAV_DEFAULT_NUMBERS": "*",
            "CALLS_PER_MINUTE": "1000",
            "REDIS_URL": self.redis.url,
            "DATABASE_URL": f"sqlite:///{self._database}",
            **self._settings,
        }

    def go(self, **places: int) -> None:
        """Send requests where they are told to, by the last part of their path; all others take turns."""
        self.crossroads.rules = {f"/twilio/{name.replace('_', '-')}": place for name, place in places.items()}

    async def greeted(self, *judgements: Any, **line: Any) -> Talk:  # noqa: ANN401 - parts of a model's script
        """A call to the locksmith whose first question was heard."""
        call = await self.world.call(Judging(judgements), to=LOCKSMITH, **line)
        talk = Talk(call, await self.world.session_of(call))
        await call.until(lambda: talk.heard_ms_of(noise(1, 300)) == 300, WAIT_S)
        return talk

    async def health(self, place: int) -> dict[str, Any]:
        return await self.kavs[place].health()

    async def until_healthy(self, place: int, done: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until /healthz of one Kav shows it. Raises TimeoutError."""
        deadline = time.monotonic() + WAIT_S
        while not done(found := await self.health(place)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"/healthz stays at {found}: {self.logs()}")
            await asyncio.sleep(0.02)
        return found

    async def row(self, call: Call, done: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the call's row in the database shows it; the database is the Kavs'. Raises TimeoutError."""
        deadline = time.monotonic() + WAIT_S
        while not done(found := next(iter(self.rows("calls", call)), {})):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{call.sid}: the record stays {found}: {self.logs()}")
            await asyncio.sleep(0.02)
        return found

    def rows(self, table: str, call: Call) -> list[dict[str, Any]]:
        connection = sqlite3.connect(f"file:{self._database}?mode=ro", uri=True)
        connection.row_factory = sqlite3.Row
        try:
            found = connection.execute(f"SELECT * FROM {table} WHERE call_sid = ?", (call.sid,))
            return [dict(row) for row in found]
        finally:
            connection.close()

    def log_lines(self, call: Call, text: str) -> list[int]:
        """The places of the Kavs whose logs have a line about the call that says `text`, once for each such line."""
        return [place for place, kav in enumerate(self.kavs) for line in kav.log_of(call.sid) if text in line]

    def hang_ups(self, call: Call) -> int:
        """How often a Kav has told Twilio over REST to hang the call up."""
        return sum(call.sid in asked.path and asked.method == "POST" for asked in self.world.twilio.rest.requests)

    def losses(self) -> int:
        """How often a Kav has said that Redis is lost."""
        return sum(kav.log(1_000_000).count(LOST) for kav in self.kavs)

    async def undisturbed(self, attempt: Callable[[int], Awaitable[T]]) -> T:
        """What an attempt comes to; it is given its number, and repeated if a Kav took Redis for lost meanwhile.

        Half a second in which the server stands still, as on a busy machine, suffices for that.
        """
        for number in range(1, ATTEMPTS + 1):
            before, found = self.losses(), await attempt(number)
            if self.losses() == before:
                break
            for place in range(len(self.kavs)):
                await self.until_healthy(place, lambda figures: "degraded" not in figures)
        return found

    def logs(self) -> str:
        return "\n---\n".join(kav.log() for kav in self.kavs)


async def until(done: Callable[[], bool]) -> None:
    """Wait for what another process writes. Raises TimeoutError."""
    deadline = time.monotonic() + WAIT_S
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError("it was not written in time")
        await asyncio.sleep(0.02)

"""A real Kav in a process of its own, as an operator would start it, on a free port of this machine.

async with KavProcess({"OPENAI_REALTIME_URL": model.url, ...}) as kav:
    kav.url, kav.pid
    await kav.health()
"""

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from rehearsal.ports import free_port

ROOT = Path(__file__).parent.parent
LEASH = Path(__file__).with_name("leash.py")
UP_WITHIN_S = 20.0
DOWN_WITHIN_S = 30.0
API_TOKEN = "the-operators-token"


class KavDied(Exception):
    """Kav ended, or never came up; the message has the end of its log."""


class KavProcess:
    """`python app.py` with an environment of its own: nothing of ours leaks in but the path."""

    def __init__(
        self,
        settings: Mapping[str, str],
        *,
        port: int | None = None,
        python: str = sys.executable,
        root: Path = ROOT,
    ) -> None:
        """`root`: the folder of the Kav that is started."""
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._python, self._root = python, root
        self._folder = tempfile.TemporaryDirectory(prefix="kav-")
        self.database = Path(self._folder.name) / "kav.db"
        self.log_path = Path(self._folder.name) / "kav.log"
        self._settings = {
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "DATABASE_URL": f"sqlite:///{self.database}",
            "KAV_API_TOKEN": API_TOKEN,
            **settings,
        }
        self._process: asyncio.subprocess.Process | None = None
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "SSL_CERT_FILE") if name in os.environ}
        with self.log_path.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(self._python, "-I", "-S", str(LEASH), self._python, str(self._root / "app.py")),
                cwd=self._folder.name,
                env={**kept, **self._settings},
                stdin=asyncio.subprocess.PIPE,  # the leash: when we are gone, however that came, Kav ends too
                stderr=log,
            )
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))
        try:
            await self._until_up()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.close()
        if self.process.returncode is None:
            self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), DOWN_WITHIN_S)
            except TimeoutError:
                self.process.kill()
                await self.process.wait()
                raise KavDied(f"Kav did not end within {DOWN_WITHIN_S} s of SIGTERM: {self.log()}") from None
        if self.process.stdin is not None:
            self.process.stdin.close()
        self._folder.cleanup()

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The process. Raises RuntimeError before `async with`."""
        if self._process is None:
            raise RuntimeError("Kav is not up: use it as `async with KavProcess(...) as kav`")
        return self._process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    async def ended(self, timeout_s: float = DOWN_WITHIN_S) -> int:
        """Wait for it to end by itself; return its exit status."""
        return await asyncio.wait_for(self.process.wait(), timeout_s)

    async def health(self) -> dict[str, Any]:
        """Return what /healthz tells the operator."""
        return await self._get("/healthz")

    async def ask(
        self, method: str, path: str, body: object = None, *, token: str | None = API_TOKEN
    ) -> tuple[int, dict[str, Any]]:
        """Ask as the operator does, and again while its database comes up; returns the status and the JSON answered."""
        deadline = time.monotonic() + UP_WITHIN_S
        while True:
            status, said = await self._ask_once(method, path, body, token)
            if status != 503 or said["error"]["code"] != "records_away" or time.monotonic() > deadline:
                return status, said
            await asyncio.sleep(0.05)

    async def _ask_once(self, method: str, path: str, body: object, token: str | None) -> tuple[int, dict[str, Any]]:
        if self._http is None:
            raise RuntimeError("Kav is not up: use it as `async with KavProcess(...) as kav`")
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        data = body if isinstance(body, bytes) else None
        given = None if data is not None else body
        async with self._http.request(method, self.url + path, headers=headers, data=data, json=given) as answer:
            said: dict[str, Any] = await answer.json()
            return answer.status, said

    def log(self, characters: int = 4000) -> str:
        """Return the end of its log."""
        return self.log_path.read_text(errors="replace")[-characters:] if self.log_path.exists() else "no log"

    def log_of(self, call_sid: str) -> list[str]:
        """Return the lines of its log that name a call."""
        return [line for line in self.log(1_000_000).splitlines() if call_sid in line]

    async def _get(self, path: str) -> dict[str, Any]:
        if self._http is None:
            raise RuntimeError("Kav is not up: use it as `async with KavProcess(...) as kav`")
        async with self._http.get(self.url + path, headers={"Authorization": f"Bearer {API_TOKEN}"}) as answer:
            answer.raise_for_status()
            body: dict[str, Any] = await answer.json()
            return body

    async def _until_up(self) -> None:
        for _ in range(int(UP_WITHIN_S / 0.05)):
            if self.process.returncode is not None:
                raise KavDied(f"Kav ended with {self.process.returncode} instead of coming up: {self.log()}")
            try:
                await self.health()
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)
            else:
                return
        raise KavDied(f"Kav was not up within {UP_WITHIN_S} s: {self.log()}")

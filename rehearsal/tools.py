"""The services that businesses' own tools ask: one server on loopback for all of them, told beforehand what to answer.

    async with ToolServer() as tools:
        tools.offer("/api/free-slots?day=2026-11-24", {"free": ["10:00"]})
        tools.url, tools.asked

A Kav that is started with `KAV_TOOLS_URL` asks here instead of every tool's own host.
"""

import asyncio
import json
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from aiohttp import web

TOKEN = "the-clinics-token"
SECRETS = {"CLINIC_API_TOKEN": TOKEN}
"""What the tools of the shipped flows need in the environment."""


@dataclass(frozen=True)
class Offer:
    """What is answered, and how: `after_s` seconds late, as JSON or, where it is a text, as it is."""

    answers: Any
    after_s: float = 0.0
    status: int = 200


@dataclass(frozen=True)
class Asked:
    """One request that came: `host` is whom Kav meant, `at` monotonic seconds."""

    at: float
    method: str
    host: str
    target: str
    body: str


class ToolServer:
    """Answers what it was offered, to whoever has the token; anything else is 401 or 404."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.url = ""
        self._offers: dict[str, Offer] = {}
        self._runner: web.AppRunner | None = None

    def offer(self, target: str, answers: object, *, after_s: float = 0.0, status: int = 200) -> None:
        """Answer `target` (path and query) so from now on."""
        self._offers[target] = Offer(answers, after_s, status)

    def times(self, target: str) -> int:
        """How often `target` was asked, with the token."""
        return sum(asked.target == target for asked in self.asked)

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.Response(status=401, text="who are you?")
        self.asked.append(Asked(time.monotonic(), request.method, request.host, request.path_qs, await request.text()))
        offer = self._offers.get(request.path_qs)
        if offer is None:
            return web.Response(status=404, text="nothing here")
        await asyncio.sleep(offer.after_s)
        if isinstance(offer.answers, str):
            return web.Response(status=offer.status, text=offer.answers)
        return web.json_response(offer.answers, status=offer.status, dumps=_dumps)


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)

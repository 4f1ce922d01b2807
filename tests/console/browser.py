"""A browser phone without a browser: logs in as an operator, places a call, and speaks on the page's socket."""

import asyncio
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
from yarl import URL

from rehearsal.model import ModelSession, Script
from rehearsal.model.rules import Event
from rehearsal.twilio.stream import MediaStream, Told
from rehearsal.twilio.ticker import Ticker
from rehearsal.websocket import connect
from rehearsal.world import World

PASSWORD = "open sesame, please"
BROWSER = "browser"
SOCKET = "/console/phone/media"
WAIT_S = 10.0
CSRF = re.compile(r'<meta name="csrf" content="([^"]+)"')


async def until(condition: Callable[[], object], what: str, timeout_s: float = WAIT_S) -> None:
    """Wait until something is so. Raises TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s} s: {what}")
        await asyncio.sleep(0.01)


class Operator:
    """Somebody at a browser, logged in: `async with Operator(url) as operator`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.csrf = ""
        self._http = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))

    async def __aenter__(self) -> Self:
        self.csrf = await self._token("/console/login")
        async with self.post("/console/login", password=PASSWORD, next="/console/phone") as answer:
            assert answer.status == 200, await answer.text()
        self.csrf = await self._token("/console/phone")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    def post(self, path: str, **form: str) -> Any:  # noqa: ANN401 - aiohttp's own context manager
        """Send a form as the browser would."""
        return self._http.post(self.url + path, data={"csrf": self.csrf, **form}, headers={"Origin": self.url})

    def get(self, path: str, **headers: str) -> Any:  # noqa: ANN401 - aiohttp's own context manager
        """Ask for something."""
        return self._http.get(self.url + path, headers={"Accept": "application/json", **headers})

    async def ticket(self, flow: str = "default", **more: str) -> dict[str, str]:
        """Place a call."""
        async with self.post("/console/phone/calls", flow=flow, **more) as answer:
            assert answer.status == 201, await answer.text()
            found: dict[str, str] = await answer.json()
            return found

    @property
    def headers(self) -> dict[str, str]:
        """What the browser sends with the upgrade of a socket."""
        cookies = self._http.cookie_jar.filter_cookies(URL(self.url))
        return {"Cookie": "; ".join(f"{name}={cookie.value}" for name, cookie in cookies.items()), "Origin": self.url}

    async def _token(self, path: str) -> str:
        async with self._http.get(self.url + path) as answer:
            found = CSRF.search(await answer.text())
        assert found, f"{path} has no form token"
        return found[1]


@dataclass
class Page:
    """One call of a page's, from both of its ends."""

    operator: Operator
    ticket: dict[str, str]
    stream: MediaStream
    session: ModelSession

    @property
    def sid(self) -> str:
        return self.ticket["callSid"]

    def type(self, text: str, stream_sid: str = "") -> None:
        """Send a typed line."""
        self.say(event="text", text=text, streamSid=stream_sid or self.stream.sid)

    def say(self, **message: Any) -> None:  # noqa: ANN401 - any message
        """Send a message as it is."""
        self.stream.peer.send_text(json.dumps(message))

    def asked(self, kind: str) -> list[Event]:
        """What Kav has sent to the model, of one type."""
        return [event for _, event in self.session.received if event["type"] == kind]

    def items(self, role: str) -> list[Event]:
        """The messages that Kav has told the model of, by their role."""
        created = [event["item"] for event in self.asked("conversation.item.create")]
        return [item for item in created if item.get("role") == role]

    async def state(self) -> dict[str, Any]:
        """What the page is told."""
        async with self.operator.get(self.ticket["state"]) as answer:
            assert answer.status == 200, await answer.text()
            found: dict[str, Any] = await answer.json()
            return found

    async def over(self) -> dict[str, Any]:
        """What the page is told when the call is over."""
        deadline = time.monotonic() + WAIT_S
        while not (state := await self.state())["ended"]:
            assert time.monotonic() < deadline, state
            await asyncio.sleep(0.02)
        return state


async def open_stream(operator: Operator, ticket: dict[str, str], *, path: str = SOCKET) -> MediaStream:
    """Open a page's socket, and begin to speak."""
    peer = await connect("ws" + operator.url.removeprefix("http") + path, operator.headers)
    stream = MediaStream(peer, ("", ticket["callSid"], ticket["streamSid"]), Ticker(), Told())
    stream.start({"token": ticket["token"], "direction": ticket["direction"]}, {})
    return stream


async def called(world: World, operator: Operator, script: Script | None = None, **form: str) -> Page:
    """A page whose call has begun."""
    number = world.expect(BROWSER, script)
    ticket = await operator.ticket(**form)
    stream = await open_stream(operator, ticket)
    return Page(operator, ticket, stream, await world.session_with(BROWSER, number))

"""One address with several Kavs behind it, as a router sees them: requests for a path take turns, or are sent.

crossroads = Crossroads()
async with crossroads:
    crossroads.ports = [8081, 8082]
    crossroads.rules["/twilio/media"] = 1          # media sockets go to the second
"""

import asyncio
from collections import Counter

from tests.redis.lines import Between, carry


class Crossroads(Between):
    """The router; a request that nobody answers gets a 503, as Heroku's does."""

    def __init__(self) -> None:
        super().__init__()
        self.ports: list[int] = []
        self.rules: dict[str, int] = {}
        """Path -> place in `ports`; other paths take turns."""
        self.taken: list[tuple[str, int]] = []
        """Path of each request, and the place that it went to."""
        self._turns: Counter[str] = Counter()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def went(self, path: str) -> list[int]:
        """The places that requests for a path went to, in their order."""
        return [place for asked, place in self.taken if asked == path]

    async def carry_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one request on, with all that follows on its connection."""
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split(b" ", 2)[1].partition(b"?")[0].decode()
        await self._pass_on(path, self._one_request(head), reader, writer)

    def _one_request(self, head: bytes) -> bytes:
        """A connection carries one request, so that the next may go elsewhere; an upgrade stays as it is."""
        if b"upgrade: websocket" in head.lower():
            return head
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
        return b"\r\n".join([*lines[:1], b"Connection: close", *lines[1:]])

    def _place(self, path: str) -> int:
        if path in self.rules:
            return self.rules[path]
        self._turns[path] += 1
        return (self._turns[path] + len(path)) % len(self.ports)

    async def _pass_on(
        self, path: str, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        place = self._place(path)
        self.taken.append((path, place))
        try:
            there, onward = await asyncio.open_connection("127.0.0.1", self.ports[place])
        except OSError:
            writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        onward.write(head)
        await asyncio.gather(carry(reader, onward), carry(there, writer))

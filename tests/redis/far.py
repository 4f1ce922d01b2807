"""A line to Redis that takes its time: what Redis answers arrives so much later, in its order.

async with FarLine() as line:
    town = Town(settings={"REDIS_URL": line.url})
    line.behind = town.redis.port
    async with town:
        line.delay_s = 0.2
"""

import asyncio
import time
from contextlib import suppress

from tests.redis.lines import Between, carry


class FarLine(Between):
    """A line to the server at the port `behind`; `delay_s` holds for what comes from then on."""

    def __init__(self) -> None:
        super().__init__()
        self.behind = 0
        self.delay_s = 0.0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def carry_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry questions at once and answers late."""
        answers, questions = await asyncio.open_connection("127.0.0.1", self.behind)
        await asyncio.gather(carry(reader, questions), self._carry_late(answers, writer))

    async def _carry_late(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                due_at, piece = await pieces.get()
                await asyncio.sleep(max(0.0, due_at - time.monotonic()))
                if not piece:
                    return
                writer.write(piece)

        delivers = asyncio.create_task(deliver())
        try:
            with suppress(ConnectionError):
                while piece := await reader.read(65536):
                    pieces.put_nowait((time.monotonic() + self.delay_s, piece))
            pieces.put_nowait((time.monotonic() + self.delay_s, b""))
            await delivers
        finally:
            delivers.cancel()
            writer.close()

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
from types import TracebackType
from typing import Self


class FarLine:
    """A TCP line on loopback to the server at the port `behind`; `delay_s` holds for what comes from then on."""

    def __init__(self) -> None:
        self.behind = 0
        self.delay_s = 0.0
        self.url = ""
        self._server: asyncio.Server | None = None
        self._at_work: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._at_work):
            task.cancel()
        await asyncio.gather(*self._at_work, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._at_work.add(task)
        try:
            answers, questions = await asyncio.open_connection("127.0.0.1", self.behind)
            await asyncio.gather(self._carry(reader, questions), self._carry_late(answers, writer))
        except (OSError, asyncio.CancelledError):
            pass  # the server is gone, or the line is: whoever asked hears that it is closed
        finally:
            self._at_work.discard(task)
            writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
        writer.close()

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

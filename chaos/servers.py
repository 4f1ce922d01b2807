"""The database and the Redis behind a storm: real ones where they are installed, else SQLite and none."""

import asyncio
import shutil
import signal
import sqlite3
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from sqlalchemy import create_engine, text

from rehearsal.servers import postgres, redis

AWAY_S = 3.0
"""How long each of them is away."""

STALLED_S = 2.5
"""How long each of them is there and says nothing."""

Server = postgres.Postgres | redis.RedisServer


class Servers:
    """What Kav keeps its records and shares its calls in; `async with` starts and stops it."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._folder = Path(tempfile.mkdtemp(prefix="kav-chaos-"))
        self._open.callback(shutil.rmtree, self._folder, ignore_errors=True)
        found = postgres.binaries()
        self.postgres = postgres.Postgres(self._folder, found) if found is not None else None
        self.redis = redis.RedisServer() if redis.binary() is not None else None

    async def __aenter__(self) -> Self:
        for server in (self.postgres, self.redis):
            if server is not None:
                await asyncio.to_thread(server.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in (self.postgres, self.redis):
            if server is not None:
                await asyncio.to_thread(server.stop)
        self._open.close()

    @property
    def names(self) -> str:
        """What there is, for whoever reads the figures."""
        return f"{'PostgreSQL' if self.postgres else 'SQLite'}, {'Redis' if self.redis else 'no Redis'}"

    @property
    def _database_url(self) -> str:
        return self.postgres.url() if self.postgres is not None else f"sqlite:///{self._folder / 'kav.db'}"

    @property
    def ports(self) -> list[int]:
        """Where the servers listen."""
        return [server.port for server in (self.postgres, self.redis) if server is not None]

    @property
    def settings(self) -> Mapping[str, str]:
        """What Kav is told of it."""
        shared = {"REDIS_URL": self.redis.url} if self.redis is not None else {}
        return {"DATABASE_URL": self._database_url, **shared}

    async def lock(self) -> None:
        """Let nobody write to SQLite for a while: it is no server that could be killed or stalled."""
        connection = sqlite3.connect(self._folder / "kav.db", timeout=5, isolation_level=None)
        try:
            connection.execute("BEGIN EXCLUSIVE")
            await asyncio.sleep(AWAY_S)
            connection.execute("COMMIT")
        finally:
            connection.close()

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows of one of Kav's tables."""
        engine = create_engine(self._database_url)
        try:
            with engine.connect() as connection:
                return [dict(row) for row in connection.execute(text(f"SELECT * FROM {table}")).mappings()]
        finally:
            engine.dispose()


async def kill(server: Server) -> None:
    """Kill a server and start it again after a while; Redis is empty then."""
    await asyncio.to_thread(server.stop)
    await asyncio.sleep(AWAY_S)
    await asyncio.to_thread(server.start)


async def stall(server: Server) -> None:
    """Stop a server's processes for a while: connections stay, and nothing answers."""
    server.signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(STALLED_S)
    finally:
        server.signal(signal.SIGCONT)

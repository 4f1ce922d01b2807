"""The database and the Redis behind a storm: real ones where they are installed, else SQLite and none."""

import asyncio
import shutil
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


class Servers:
    """What Kav keeps its records and shares its calls in; `async with` starts and stops it."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._folder = Path(tempfile.mkdtemp(prefix="kav-chaos-"))
        self._open.callback(shutil.rmtree, self._folder, ignore_errors=True)
        found = postgres.binaries()
        self._postgres = postgres.Postgres(self._folder, found) if found is not None else None
        self._redis = redis.RedisServer() if redis.binary() is not None else None

    async def __aenter__(self) -> Self:
        for server in (self._postgres, self._redis):
            if server is not None:
                await asyncio.to_thread(server.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in (self._postgres, self._redis):
            if server is not None:
                await asyncio.to_thread(server.stop)
        self._open.close()

    @property
    def names(self) -> str:
        """What there is, for whoever reads the figures."""
        return f"{'PostgreSQL' if self._postgres else 'SQLite'}, {'Redis' if self._redis else 'no Redis'}"

    @property
    def _database_url(self) -> str:
        return self._postgres.url() if self._postgres is not None else f"sqlite:///{self._folder / 'kav.db'}"

    @property
    def ports(self) -> list[int]:
        """Where the servers listen."""
        return [server.port for server in (self._postgres, self._redis) if server is not None]

    @property
    def settings(self) -> Mapping[str, str]:
        """What Kav is told of it."""
        shared = {"REDIS_URL": self._redis.url} if self._redis is not None else {}
        return {"DATABASE_URL": self._database_url, **shared}

    async def database_away(self) -> None:
        """Kill the database and start it again; SQLite cannot be killed, so nobody can write to it meanwhile."""
        if self._postgres is None:
            await _lock(self._folder / "kav.db")
            return
        await asyncio.to_thread(self._postgres.stop)
        await asyncio.sleep(AWAY_S)
        await asyncio.to_thread(self._postgres.start)

    async def redis_away(self) -> bool:
        """Kill Redis and start it again, empty; say whether there was one."""
        if self._redis is None:
            return False
        await asyncio.to_thread(self._redis.stop)
        await asyncio.sleep(AWAY_S)
        await asyncio.to_thread(self._redis.start)
        return True

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows of one of Kav's tables."""
        engine = create_engine(self._database_url)
        try:
            with engine.connect() as connection:
                return [dict(row) for row in connection.execute(text(f"SELECT * FROM {table}")).mappings()]
        finally:
            engine.dispose()


async def _lock(database: Path) -> None:
    connection = sqlite3.connect(database, timeout=5, isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        await asyncio.sleep(AWAY_S)
        connection.execute("COMMIT")
    finally:
        connection.close()

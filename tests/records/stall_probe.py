"""Run as a process, patched as in production: how late is the hub while the database is slow?

    python -m tests.records.stall_probe DATABASE_URL SECONDS

Prints one JSON object. A database that is slow: for PostgreSQL a `pg_sleep`, for SQLite a lock that a process of
another owner (here a second connection on a native thread of its own) holds.
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402 - patching is first
import os  # noqa: E402
import sqlite3  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
from sqlalchemy import Connection, text  # noqa: E402

from kav.records import Records, SaveResult  # noqa: E402
from kav.records.backlog import Operation  # noqa: E402

TICK_S = 0.005


@dataclass(frozen=True)
class Sleep:
    """An operation that keeps the writer's connection busy."""

    seconds: float
    row: None = None

    def joined(self, later: Operation) -> Operation:
        return later

    def apply(self, connection: Connection) -> str:
        connection.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": self.seconds})
        return ""

    def told(self) -> dict[str, Any]:
        return {}


def watch(lags: list[float]) -> None:
    while True:
        asleep = time.perf_counter()
        gevent.sleep(TICK_S)
        lags.append(time.perf_counter() - asleep - TICK_S)


def slow(records: Records, url: str, seconds: float) -> SaveResult:
    """Make the database slow for a while and submit a status behind it."""
    if records.backend == "postgresql":
        records.submit(Sleep(seconds))
        for _ in range(2):
            gevent.spawn(records.read, lambda connection: Sleep(seconds).apply(connection))
        return records.save_call_status("CA2", "completed")
    holder = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    gevent.spawn_later(seconds, holder.execute, "ROLLBACK")
    return records.save_call_status("CA2", "completed")


def main(url: str, seconds: float) -> None:
    records = Records(url)
    records.start()
    booted = records.save_call_status("CA1", "completed").wait(20) and records.get_call("CA1") is not None
    lags: list[float] = []
    watcher = gevent.spawn(watch, lags)
    begun = time.perf_counter()
    saved = slow(records, url, seconds).wait(seconds + 10)
    took_s = time.perf_counter() - begun
    watcher.kill()
    left = records.stop(5)
    seen = {"booted": booted, "saved": saved, "left": left, "took_s": took_s, "worst_lag_s": max(lags)}
    sys.stdout.write(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
    sys.stdout.flush()
    os._exit(0)  # as app.py does: an interpreter that tears itself down around native threads may crash

"""Guards against lost updates: writers that meet on one call leave the row that the promise says."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier

from sqlalchemy import Engine

from kav.records import reading, repository
from kav.records.database import build_engine, parse_url
from kav.records.repository import CallRecord, status_report

NOW = datetime(2026, 11, 22, tzinfo=UTC)
WRITERS, ROUNDS = 4, 25


def write(database_url: str, number: int, barrier: Barrier) -> None:
    engine = build_engine(parse_url(database_url), "write")
    barrier.wait(timeout=10)
    for turn in range(ROUNDS):
        duration = number * ROUNDS + turn
        with engine.begin() as connection:
            repository.save_call_status(connection, status_report("CA1", "in-progress", None, "inbound", NOW))
            repository.save_call_status(connection, status_report("CA1", "completed", duration, "outbound", NOW))
        with engine.begin() as connection:
            repository.save_call(connection, CallRecord("CA1", {"line_ghost_ms": 1.0, "business": str(number)}, NOW))
    engine.dispose()


def test_writers_of_one_call_lose_nothing_of_each_other(engine: Engine, database_url: str) -> None:
    barrier = Barrier(WRITERS)
    with ThreadPoolExecutor(WRITERS) as pool:
        for done in [pool.submit(write, database_url, number, barrier) for number in range(WRITERS)]:
            done.result(timeout=60)
    with engine.begin() as connection:
        (call,) = reading.list_calls(connection)
    assert (call["status"], call["terminal_status"], call["direction"]) == ("completed", "completed", "inbound")
    assert (call["duration_s"], call["line_ghost_ms"]) == (WRITERS * ROUNDS - 1, 1.0)

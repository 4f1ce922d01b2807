"""What a day has cost is read from the records: neither a restart nor another process opens one that cost enough."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, insert

from kav.records import figures
from kav.records.models import CALLS

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def test_the_cost_of_a_stretch_is_that_of_the_calls_that_came_in_it(connection: Connection) -> None:
    for number, (hours, cost) in enumerate([(-13, 1), (-12, 20), (-1, 300), (-1, None), (0, 4000)]):
        moment = NOON + timedelta(hours=hours)
        row = {"call_sid": f"CA{number}", "created_at": moment, "updated_at": moment, "cost_micro_usd": cost}
        connection.execute(insert(CALLS), [row])
    assert figures.cost_micro_usd(connection, NOON - timedelta(hours=12), NOON) == 320


def test_a_day_without_calls_has_cost_nothing(connection: Connection) -> None:
    assert figures.cost_micro_usd(connection, NOON, NOON + timedelta(days=1)) == 0

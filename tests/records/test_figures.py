"""Guards what a day's calls add up to: each figure from the calls that have it, and from no other."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Table, insert

from kav.records import repository
from kav.records.figures import MOST_MEASURED, Figures, Spread, cost_micro_usd, figures, spread
from kav.records.models import CALLS, STREAMS, TURNS
from kav.records.parts import PartRecord
from kav.records.repository import CallFields, CallRecord

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DAY = (NOON - timedelta(hours=1), NOON + timedelta(hours=1))


def save(connection: Connection, number: int, **known: object) -> None:
    fields: CallFields = {"created_at": NOON, **known}  # type: ignore[typeddict-item]  # the fields' own names
    repository.save(connection, CallRecord(f"CA{number}", fields, NOON))


def used(connection: Connection, number: int, model: str, cost: int | None) -> None:
    repository.save(
        connection, PartRecord("usage", f"CA{number}", model, {"responses": 1, "cost_micro_usd": cost}, NOON)
    )


def today(connection: Connection) -> Figures:
    return figures(connection, *DAY)


def test_the_known_part_of_a_cost_counts_for_the_figure_and_for_the_cap(connection: Connection) -> None:
    save(connection, 1)
    used(connection, 1, "gpt-realtime-2.1", 500_000)
    used(connection, 1, "gpt-of-tomorrow", None)
    assert (today(connection).cost_micro_usd, today(connection).unpriced) == (500_000, 1)
    assert cost_micro_usd(connection, *DAY) == 500_000


def test_a_call_that_used_nothing_is_not_without_a_price(connection: Connection) -> None:
    save(connection, 1, socket_ghost_ms=1.0, end_reason="caller_hung_up")
    assert (today(connection).cost_micro_usd, today(connection).unpriced) == (0, 0)


def test_the_line_s_ghost_is_that_of_the_calls_that_kav_ended(connection: Connection) -> None:
    save(connection, 1, end_reason="caller_hung_up")
    save(connection, 2, end_reason="caller_hung_up")
    save(connection, 3, end_reason="goodbye", line_ghost_ms=4000.0)
    assert today(connection).line_ghost == Spread(1, 4000.0, 4000.0, 4000.0)


def test_whoever_tries_a_flow_from_the_browser_is_no_customer_and_costs_money_all_the_same(
    connection: Connection,
) -> None:
    for number, line in enumerate(("twilio", "browser", None)):
        save(connection, number, line=line, direction="inbound", flow_done=True)
        used(connection, number, "gpt-realtime-2.1", 100)
    found = today(connection)
    assert (found.calls, found.inbound, found.completed, found.cost_micro_usd) == (2, 2, 2, 200)
    assert cost_micro_usd(connection, *DAY) == 300


def test_a_flow_without_steps_is_not_among_those_that_were_completed(connection: Connection) -> None:
    for number, done in enumerate((True, False, None)):
        save(connection, number, flow_done=done)
    assert today(connection).completed == 1


@pytest.mark.parametrize(
    ("measured", "median", "p95"),
    [([7], 7, 7), ([1, 100], 50.5, 100), (range(1, 21), 10.5, 19), (range(1, 101), 50.5, 95), ([3, None, 1], 2, 3)],
)
def test_the_middle_and_the_slowest_twentieth_are_those_of_the_textbook(
    measured: list[float | None], median: float, p95: float
) -> None:
    found = spread(list(measured))
    assert (found.median, found.p95) == (median, p95)


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_no_more_than_a_twentieth_is_slower_than_p95(measured: list[float]) -> None:
    found = spread(measured)
    assert found.p95 is not None
    assert sum(value > found.p95 for value in measured) <= len(measured) * 0.05
    assert sum(value >= found.p95 for value in measured) >= len(measured) * 0.05


def test_nothing_measured_is_nothing() -> None:
    assert spread([None]) == Spread(0, None, None, None)


MORE = 50
SLOW_MS = 9000


def a_day_of_very_many(connection: Connection) -> None:
    """Each of the oldest calls was slow in everything."""
    rows: dict[Table, list[dict[str, object]]] = {CALLS: [], STREAMS: [], TURNS: []}
    for number in range(MOST_MEASURED + MORE):
        call, took = {"call_sid": f"CA{number}"}, SLOW_MS if number < MORE else 5
        at = {"created_at": DAY[0] + timedelta(milliseconds=number), "updated_at": NOON}
        known = {
            "direction": "inbound",
            "end_reason": "goodbye",
            "flow_done": True,
            "cost_micro_usd": 1,
            "barge_ins": 2,
        }
        rows[CALLS].append(call | at | known | {"socket_ghost_ms": took, "line_ghost_ms": took})
        rows[STREAMS].append(call | {"stream_sid": f"MZ{number}", "reaction_ms": took})
        rows[TURNS].append(call | {"number": 1, "who": "bot", "at_ms": took, "latency_ms": took})
    for table, each in rows.items():
        connection.execute(insert(table), each)


def test_sums_and_counts_are_those_of_all_calls_and_spreads_say_that_they_are_of_the_latest(
    connection: Connection,
) -> None:
    a_day_of_very_many(connection)
    found, everybody = today(connection), MOST_MEASURED + MORE
    assert (found.calls, found.inbound, found.completed, found.cost_micro_usd) == (everybody,) * 4
    assert (found.barge_ins, found.by_end) == (2 * everybody, (("goodbye", everybody),))
    for measured in (found.socket_ghost, found.line_ghost, found.reaction, found.first_word, found.answer):
        assert measured == Spread(MOST_MEASURED, 5, 5, 5, of_latest=True), "the oldest were the slow ones"


def test_a_spread_of_everything_does_not_say_that_it_is_of_the_latest(connection: Connection) -> None:
    save(connection, 1, socket_ghost_ms=1.0)
    assert not today(connection).socket_ghost.of_latest

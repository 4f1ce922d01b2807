"""What the calls of a stretch of time add up to: how many, how they ended, how quick Kav was, what they cost."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import ceil
from statistics import median
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Connection, Label, Select, case, func, or_, select

from kav.records.models import CALLS, STREAMS, TURNS

MOST_MEASURED: Final = 20_000
"""Values of a measure that are looked at, the newest ones: how more of them spread would make a page wait."""

CUSTOMERS: Final = or_(CALLS.c.line.is_(None), CALLS.c.line != "browser")
"""Calls that are no tests: whoever tries a flow from the console's own page is no customer."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How a measure spreads over its calls, in ms; None where nothing was measured."""

    count: int
    median: float | None
    p95: float | None
    greatest: float | None
    of_latest: bool = False
    """There are more: these are the newest."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What the calls add up to."""

    calls: int
    inbound: int
    outbound: int
    completed: int
    """Calls whose flow was gone through to its end."""
    barge_ins: int
    duration_s: int
    cost_micro_usd: int
    unpriced: int
    """Calls of whose cost some part, or all, is not known; what is known of it is in the sum."""
    socket_ghost: Spread
    line_ghost: Spread
    reaction: Spread
    """From a caller's speaking over the bot to Twilio's `clear`: the longest of each stream."""
    first_word: Spread
    answer: Spread
    """From the end of a caller's turn to the bot's first sound."""
    by_end: tuple[tuple[str, int], ...]
    """End reason and how many calls, most first."""


def figures(connection: Connection, since: datetime, until: datetime) -> Figures:
    """Add up the customers' calls that were created in [since, until); both time zone aware."""
    within = customers_within(since, until)
    added = connection.execute(select(*_sums()).where(*within)).mappings().one()
    return Figures(
        **{name: int(value or 0) for name, value in added.items()},
        socket_ghost=_measured(connection, within, CALLS.c.socket_ghost_ms),
        line_ghost=_measured(connection, within, CALLS.c.line_ghost_ms),
        reaction=_measured(connection, within, STREAMS.c.reaction_ms),
        first_word=_first_words(connection, within),
        answer=_measured(connection, within, TURNS.c.latency_ms),
        by_end=_by_end(connection, within),
    )


def customers_within(since: datetime, until: datetime) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions of the customers' calls that were created in [since, until); both time zone aware."""
    return CALLS.c.created_at >= since, CALLS.c.created_at < until, CUSTOMERS


def how_many(condition: ColumnElement[bool]) -> ColumnElement[int]:
    """Return the number of rows for which a condition holds, as an expression; NULL where there is no row."""
    return func.sum(case((condition, 1), else_=0))


def cost_micro_usd(connection: Connection, since: datetime, until: datetime) -> int:
    """Return what all calls, tests too, that were created in [since, until) have cost, as far as prices are known."""
    cost = func.coalesce(func.sum(CALLS.c.cost_micro_usd), 0)
    query = select(cost).where(CALLS.c.created_at >= since, CALLS.c.created_at < until)
    return int(connection.execute(query).scalar_one())


def spread(measured: Sequence[Any]) -> Spread:
    """Return how values spread; None among them was not measured. p95 is a value that was measured (nearest rank)."""
    values = sorted(float(value) for value in measured if value is not None)
    if not values:
        return Spread(0, None, None, None)
    return Spread(len(values), median(values), values[ceil(len(values) * 0.95) - 1], values[-1])


def _sums() -> Iterator[Label[Any]]:
    yield func.count().label("calls")
    for name in ("barge_ins", "duration_s", "cost_micro_usd"):
        yield func.sum(CALLS.c[name]).label(name)
    for direction in ("inbound", "outbound"):
        yield how_many(CALLS.c.direction == direction).label(direction)
    for name, column in (("completed", CALLS.c.flow_done), ("unpriced", CALLS.c.cost_is_partial)):
        yield how_many(column.is_(True)).label(name)


def _by_end(connection: Connection, within: Sequence[ColumnElement[bool]]) -> tuple[tuple[str, int], ...]:
    reason, count = CALLS.c.end_reason, func.count()
    query = select(reason, count).where(*within, reason.is_not(None), reason != "").group_by(reason)
    return tuple((why, calls) for why, calls in connection.execute(query.order_by(count.desc(), reason)))


def _measured(connection: Connection, within: Sequence[ColumnElement[bool]], measure: Column[Any]) -> Spread:
    """Return how a measure of calls, or of what they brought, spreads."""
    table = measure.table
    of_calls = CALLS if table is CALLS else CALLS.join(table, table.c.call_sid == CALLS.c.call_sid)
    query = select(measure).select_from(of_calls).where(*within, measure.is_not(None))
    return _spread_of_newest(connection, query.order_by(CALLS.c.created_at.desc()))


def _first_words(connection: Connection, within: Sequence[ColumnElement[bool]]) -> Spread:
    """Return how each call's first word of the bot's spreads, in ms since its first stream began."""
    of_call = (TURNS.c.call_sid == CALLS.c.call_sid, TURNS.c.who == "bot")
    first = select(func.min(TURNS.c.at_ms)).where(*of_call).scalar_subquery().label("first")
    each = select(CALLS.c.created_at, first).where(*within).subquery()
    query = select(each.c.first).where(each.c.first.is_not(None))
    return _spread_of_newest(connection, query.order_by(each.c.created_at.desc()))


def _spread_of_newest(connection: Connection, newest_first: Select[Any]) -> Spread:
    values = list(connection.execute(newest_first.limit(MOST_MEASURED + 1)).scalars())
    return replace(spread(values[:MOST_MEASURED]), of_latest=len(values) > MOST_MEASURED)

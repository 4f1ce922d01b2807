"""What the calls of a stretch of time add up to: how many, how they ended, how quick Kav was, what they cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from statistics import median
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, func, or_, select

from kav.records.models import CALLS, STREAMS, TURNS

MOST_CALLS: Final = 20_000
"""Calls of one stretch that are looked at; more would make a page wait."""


CUSTOMERS: Final = or_(CALLS.c.line.is_(None), CALLS.c.line != "browser")
"""Calls that are no tests: whoever tries a flow from the console's own page is no customer."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How a measure spreads over its calls, in ms; None where nothing was measured."""

    count: int
    median: float | None
    p95: float | None
    greatest: float | None


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
    began: tuple[datetime, ...]
    """When each call came."""


def figures(connection: Connection, since: datetime, until: datetime) -> Figures:
    """Add up the customers' calls that were created in [since, until); both time zone aware."""
    within = (CALLS.c.created_at >= since, CALLS.c.created_at < until, CUSTOMERS)
    columns = ("direction", "flow_done", "barge_ins", "duration_s", "end_reason", "created_at")
    costs, ghosts = ("cost_micro_usd", "cost_is_partial"), ("socket_ghost_ms", "line_ghost_ms")
    query = select(*(CALLS.c[name] for name in (*columns, *costs, *ghosts))).where(*within).limit(MOST_CALLS)
    calls = connection.execute(query).all()
    reasons = [call.end_reason for call in calls if call.end_reason]
    return Figures(
        calls=len(calls),
        inbound=sum(call.direction == "inbound" for call in calls),
        outbound=sum(call.direction == "outbound" for call in calls),
        completed=sum(bool(call.flow_done) for call in calls),
        barge_ins=sum(call.barge_ins or 0 for call in calls),
        duration_s=sum(call.duration_s or 0 for call in calls),
        cost_micro_usd=sum(call.cost_micro_usd or 0 for call in calls),
        unpriced=sum(bool(call.cost_is_partial) for call in calls),
        socket_ghost=spread([call.socket_ghost_ms for call in calls]),
        line_ghost=spread([call.line_ghost_ms for call in calls]),
        reaction=spread(_reactions(connection, within)),
        first_word=spread(_first_words(connection, within)),
        answer=spread(_answers(connection, within)),
        by_end=tuple(sorted(((r, reasons.count(r)) for r in set(reasons)), key=lambda pair: (-pair[1], pair[0]))),
        began=tuple(call.created_at for call in calls),
    )


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


def _reactions(connection: Connection, within: Sequence[ColumnElement[bool]]) -> list[Any]:
    of_calls = STREAMS.join(CALLS, STREAMS.c.call_sid == CALLS.c.call_sid)
    query = select(STREAMS.c.reaction_ms).select_from(of_calls).where(*within, STREAMS.c.reaction_ms.is_not(None))
    return list(connection.execute(query.limit(MOST_CALLS)).scalars())


def _first_words(connection: Connection, within: Sequence[ColumnElement[bool]]) -> list[Any]:
    """Return when each call's first word of the bot's was, in ms since its first stream began."""
    of_calls = TURNS.join(CALLS, TURNS.c.call_sid == CALLS.c.call_sid)
    query = select(func.min(TURNS.c.at_ms)).select_from(of_calls).where(*within, TURNS.c.who == "bot")
    return list(connection.execute(query.group_by(TURNS.c.call_sid).limit(MOST_CALLS)).scalars())


def _answers(connection: Connection, within: Sequence[ColumnElement[bool]]) -> list[Any]:
    of_calls = TURNS.join(CALLS, TURNS.c.call_sid == CALLS.c.call_sid)
    query = select(TURNS.c.latency_ms).select_from(of_calls).where(*within, TURNS.c.latency_ms.is_not(None))
    return list(connection.execute(query.limit(MOST_CALLS)).scalars())

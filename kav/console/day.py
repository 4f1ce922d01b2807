"""What of a day belongs to calls that still go on: a day that is not over mixes them with those that ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, case, func, literal_column, not_, select

from kav.console.charts import HOURS, hour_begins
from kav.records.figures import Figures, customers_within, figures, how_many
from kav.records.models import CALLS


@dataclass(frozen=True, slots=True)
class Day:
    """A day's figures, and how much of them is of calls without an end."""

    figures: Figures
    going_on: int
    going_on_completed: int
    """Their flow was gone through, and the goodbye is still being said."""
    going_on_cost_micro_usd: int
    going_on_unpriced: int
    """Of how many of them that is only a part."""
    ended_with_questions: int
    """Calls that are over and whose flow has questions: only they can be completed."""
    by_hour: tuple[int, ...]
    """How many calls began in each hour of the day."""
    going_on_by_hour: tuple[int, ...]
    """How many of those go on."""

    @property
    def ended(self) -> int:
        """How many calls are over."""
        return self.figures.calls - self.going_on

    @property
    def completed(self) -> int:
        """How many of those went through their flow to its end."""
        return self.figures.completed - self.going_on_completed


def day_figures(connection: Connection, since: datetime, until: datetime, zone: tzinfo) -> Day:
    """Add up the calls that were created in [since, until), both time zone aware; hours are those of `zone`."""
    within = customers_within(since, until)
    completed, unpriced = (how_many(column.is_(True)) for column in (CALLS.c.flow_done, CALLS.c.cost_is_partial))
    going_on = select(func.count(), completed, func.sum(CALLS.c.cost_micro_usd), unpriced).where(*within, WITHOUT_END)
    calls, done, cost, partly = connection.execute(going_on).one()
    with_questions = select(func.count()).where(*within, not_(WITHOUT_END), CALLS.c.flow_done.is_not(None))
    by_hour, going_on_by_hour = _by_hour(connection, within, hour_begins(since, until, zone))
    return Day(
        figures=figures(connection, since, until),
        going_on=calls,
        going_on_completed=int(done or 0),
        going_on_cost_micro_usd=int(cost or 0),
        going_on_unpriced=int(partly or 0),
        ended_with_questions=connection.execute(with_questions).scalar_one(),
        by_hour=by_hour,
        going_on_by_hour=going_on_by_hour,
    )


WITHOUT_END: Final = and_(CALLS.c.end_reason.is_(None), CALLS.c.terminal_status.is_(None))


def _by_hour(
    connection: Connection, within: Sequence[ColumnElement[bool]], begins: Sequence[tuple[datetime, int]]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return how many calls began in each hour, and how many of those go on."""
    hour = case(*[(CALLS.c.created_at >= at, literal_column(str(number))) for at, number in reversed(begins)])
    goes_on = case((WITHOUT_END, 1), else_=0)
    each = select(hour.label("hour"), goes_on.label("goes_on")).where(*within).subquery()
    query = select(each.c.hour, func.count(), func.sum(each.c.goes_on)).group_by(each.c.hour)
    calls, going_on = [0] * HOURS, [0] * HOURS
    for number, in_all, without_end in connection.execute(query):
        calls[number], going_on[number] = in_all, int(without_end)
    return tuple(calls), tuple(going_on)

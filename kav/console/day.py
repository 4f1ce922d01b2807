"""What of a day belongs to calls that still go on: a day that is not over mixes them with those that ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, func, not_, select

from kav.records.figures import CUSTOMERS, MOST_CALLS, Figures, figures
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
    going_on_began: tuple[datetime, ...]
    ended_with_questions: int
    """Calls that are over and whose flow has questions: only they can be completed."""

    @property
    def ended(self) -> int:
        """How many calls are over."""
        return self.figures.calls - self.going_on

    @property
    def completed(self) -> int:
        """How many of those went through their flow to its end."""
        return self.figures.completed - self.going_on_completed


def day_figures(connection: Connection, since: datetime, until: datetime) -> Day:
    """Add up the calls that were created in [since, until); both time zone aware."""
    calls = _going_on(connection, since, until)
    return Day(
        figures=figures(connection, since, until),
        going_on=len(calls),
        going_on_completed=sum(bool(call.flow_done) for call in calls),
        going_on_cost_micro_usd=sum(call.cost_micro_usd or 0 for call in calls),
        going_on_unpriced=sum(bool(call.cost_is_partial) for call in calls),
        going_on_began=tuple(call.created_at for call in calls),
        ended_with_questions=_ended_with_questions(connection, since, until),
    )


WITHOUT_END: Final = and_(CALLS.c.end_reason.is_(None), CALLS.c.terminal_status.is_(None))


def _going_on(connection: Connection, since: datetime, until: datetime) -> Sequence[Row[Any, Any, Any, Any]]:
    columns = (CALLS.c.created_at, CALLS.c.flow_done, CALLS.c.cost_micro_usd, CALLS.c.cost_is_partial)
    within = (CALLS.c.created_at >= since, CALLS.c.created_at < until, CUSTOMERS)
    return connection.execute(select(*columns).where(*within, WITHOUT_END).limit(MOST_CALLS)).all()


def _ended_with_questions(connection: Connection, since: datetime, until: datetime) -> int:
    within = (CALLS.c.created_at >= since, CALLS.c.created_at < until, CUSTOMERS)
    query = select(func.count()).where(*within, not_(WITHOUT_END), CALLS.c.flow_done.is_not(None))
    return connection.execute(query).scalar_one()

"""Calls that are ordered and not answered yet: each has a ticket, which comes back with whatever Twilio asks about it.

Twilio may ask what to do with a call before it has said the call's sid to whoever placed it, so no sid can tell which
order an answered call belongs to. The ticket is in the URLs that Twilio is given, and Twilio signs them. It is used up
by the first call that brings it; the same call may bring it again. Times are monotonic seconds.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from kav.call.flow import Flow
from kav.dialling import AnsweredBy

TTL_S: Final = 300.0
"""A ticket nobody used: longer than Twilio's queue (one call a second) and the ringing together."""


@dataclass(slots=True)
class Order:
    """One call that was ordered: whom, from which number, with the flow that was filled for it."""

    flow: Flow
    to: str
    from_: str
    at: float
    call_sid: str = ""
    """Whose ticket it is, from the moment that Twilio first names the call."""
    answered_by: AnsweredBy | None = None
    """What machine detection found, if it was quicker than the call."""


class Tickets:
    """The orders of one process, by ticket."""

    def __init__(self, ttl_s: float = TTL_S) -> None:
        self._ttl_s = ttl_s
        self._orders: dict[str, Order] = {}

    def keep(self, ticket: str, order: Order) -> bool:
        """Keep an order until it is claimed, dropped or too old; False, and nothing kept, if the number has one."""
        self._forget_old(order.at)
        if any(other.to == order.to for other in self._orders.values()):
            return False
        self._hold(ticket, order)
        return True

    def _hold(self, ticket: str, order: Order) -> None:
        self._orders[ticket] = order

    def find(self, ticket: str, call_sid: str, now: float) -> Order | None:
        """Return the ticket's order for this call, and let the ticket be this call's from now on; None is a stranger's.

        Args:
            ticket: what the URL brought.
            call_sid: the call that brought it.
            now: monotonic seconds.
        """
        self._forget_old(now)
        order = self._orders.get(ticket)
        if order is None or not call_sid or order.call_sid not in ("", call_sid):
            return None
        order.call_sid = call_sid
        return order

    def drop(self, ticket: str) -> None:
        """Forget a ticket: its call was answered, or never will be."""
        self._orders.pop(ticket, None)

    def knows(self, call_sid: str) -> bool:
        """Whether a call that nobody has answered yet was ordered here, as far as Twilio has named it."""
        return bool(call_sid) and any(order.call_sid == call_sid for order in self._orders.values())

    def found(self, ticket: str, order: Order, answered_by: AnsweredBy) -> None:  # noqa: ARG002 - others have many
        """Note what machine detection found before the call itself has come."""
        order.answered_by = answered_by

    def numbers(self, now: float) -> Iterable[str]:
        """Return whom the calls are to that are not answered yet."""
        return [order.to for order in self.waiting(now)]

    def waiting(self, now: float) -> Iterable[Order]:
        """Return the orders whose calls are not answered yet."""
        self._forget_old(now)
        return tuple(self._orders.values())

    def _forget_old(self, now: float) -> None:
        for ticket in [ticket for ticket, order in self._orders.items() if now - order.at > self._ttl_s]:
            del self._orders[ticket]


class Rate:
    """At most so many a minute, in any minute."""

    WINDOW_S: Final = 60.0

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._taken: deque[float] = deque()

    def wait_s(self, now: float) -> float:
        """Return in how many seconds the next one may be taken; 0 is now."""
        while self._taken and now - self._taken[0] >= self.WINDOW_S:
            self._taken.popleft()
        return self._taken[0] + self.WINDOW_S - now if len(self._taken) >= self._per_minute else 0.0

    def take(self, now: float) -> None:
        """Count one."""
        self._taken.append(now)

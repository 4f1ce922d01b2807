"""The tickets of calls that are ordered, for all processes: who places a call is seldom who is asked about it.

The hash `kav:ticket:<ticket>` has the order; the sorted set `kav:tickets` has the tickets by the time that they end.
While Redis is away, a process knows its own.
"""

import json
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, cast, get_args

from kav.call.flow import Flow
from kav.call.plain import UnreadableError, loads, pack, unpack
from kav.dialling import AnsweredBy
from kav.shared.link import Link, UnansweredError
from kav.shared.scripts import CALLS
from kav.tickets import TTL_S, Order, Tickets

TICKETS: Final = "kav:tickets"

FIND: Final = """
-- KEYS ticket. ARGV sid. Returns the order and what machine detection found: the ticket is this call's from now on;
-- `taken` if it is another's, nothing if there is none.
local order, call = redis.call('HGET', KEYS[1], 'order'), redis.call('HGET', KEYS[1], 'call')
if not order then return {} end
if call and call ~= ARGV[1] then return {'taken'} end
redis.call('HSET', KEYS[1], 'call', ARGV[1])
return {order, redis.call('HGET', KEYS[1], 'answered_by') or ''}
"""

FOUND: Final = """
-- KEYS ticket. ARGV what machine detection found. A ticket that is used up does not come back.
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'answered_by', ARGV[1]) end
return 1
"""

KEEP: Final = """
-- KEYS ticket, tickets, calls. ARGV ticket, number, order, seconds. Keeps the order unless somebody rings that number,
-- or is in a call with it. Returns whether it is kept.
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
for _, other in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  if other ~= ARGV[1] and redis.pcall('HGET', 'kav:ticket:' .. other, 'to') == ARGV[2] then return 0 end
end
for _, sid in ipairs(redis.call('SMEMBERS', KEYS[3])) do
  local call = redis.pcall('HMGET', 'kav:call:' .. sid, 'call', 'end')
  if call[1] and call[2] == 'null' then
    local read, told = pcall(cjson.decode, call[1])
    if read and type(told) == 'table' then
      local other = told['direction'] == 'outbound' and told['to_number'] or told['from_number']
      if other == ARGV[2] then return 0 end
    end
  end
end
redis.call('HSET', KEYS[1], 'order', ARGV[3], 'to', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('ZADD', KEYS[2], now + ARGV[4], ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[4])
return 1
"""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Told:
    """An order as other processes read it; `at` is a moment of Redis's."""

    flow: Flow
    to: str
    from_: str
    at: float


class SharedTickets(Tickets):
    """The orders of all processes, by ticket."""

    def __init__(self, link: Link, ttl_s: float = TTL_S) -> None:
        super().__init__(ttl_s)
        self._link = link
        self._told: set[str] = set()
        """Own tickets that Redis has: when it has them no more, they are used up."""

    def keep(self, ticket: str, order: Order) -> bool:
        """Keep an order, in one step for all; False, and nothing kept, if any process rings or speaks to the number."""
        self._hold(ticket, order)  # first, for whoever counts while Redis is asked counts this one
        values = (ticket, order.to, json.dumps(self._plain(order)), round(self._ttl_s))
        try:
            kept = bool(self._link.script(KEEP, [_key(ticket), TICKETS, CALLS], values))
        except UnansweredError:
            log.warning("a call is ordered that this process alone knows of")
            super().drop(ticket)
            return super().keep(ticket, order)
        if kept:
            self._told.add(ticket)
        else:
            super().drop(ticket)
        return kept

    def find(self, ticket: str, call_sid: str, now: float) -> Order | None:
        """Return the ticket's order for this call, whoever has placed it, and let the ticket be this call's."""
        if not ticket or not call_sid:
            return None
        try:
            found = self._link.script(FIND, [_key(ticket)], [call_sid])
        except UnansweredError:
            return super().find(ticket, call_sid, now)
        if not found:
            self._forget_used(ticket)
            return super().find(ticket, call_sid, now)
        if found == ["taken"]:
            return None
        own = super().find(ticket, call_sid, now)
        order = own if own is not None else self._order(found[0])
        if order is not None and found[1] in get_args(AnsweredBy):
            order.answered_by = cast("AnsweredBy", found[1])
        return order

    def found(self, ticket: str, order: Order, answered_by: AnsweredBy) -> None:
        """Note what machine detection found, for whoever is asked about the call next."""
        super().found(ticket, order, answered_by)
        try:
            self._link.script(FOUND, [_key(ticket)], [answered_by])
        except UnansweredError:
            log.warning("what answered a call is known to this process alone")

    def drop(self, ticket: str) -> None:
        """Forget a ticket: its call was answered, or never will be."""
        super().drop(ticket)
        self._told.discard(ticket)
        try:
            self._link.ask(lambda: self._delete(ticket))
        except UnansweredError:
            return  # it ends by itself

    def knows(self, call_sid: str) -> bool:
        """Whether a call that nobody has answered yet was ordered by any process."""
        if not call_sid or super().knows(call_sid):
            return bool(call_sid)
        try:
            return call_sid in self._link.ask(lambda: self._column("call")).values()
        except UnansweredError:
            return False

    def numbers(self, now: float) -> Iterable[str]:
        """Return whom the calls are to that are not answered yet, those of other processes among them."""
        told = set(self._told)
        try:
            others = self._link.ask(lambda: self._column("to"))
        except UnansweredError:
            return super().numbers(now)
        for ticket in told - set(others):
            self._forget_used(ticket)
        new = [order.to for ticket, order in self._orders.items() if ticket not in others]
        return [*others.values(), *new]

    def _forget_used(self, ticket: str) -> None:
        if ticket in self._told:
            self._told.discard(ticket)
            super().drop(ticket)

    def _plain(self, order: Order) -> object:
        return pack(Told(order.flow, order.to, order.from_, order.at + self._link.shift))

    def _order(self, text: str) -> Order | None:
        try:
            told: Told = unpack(Told, loads(text))
        except UnreadableError as error:
            log.error("another process's order cannot be read: %s", error)
            return None
        return Order(told.flow, told.to, told.from_, told.at - self._link.shift)

    def _delete(self, ticket: str) -> None:
        with self._link.client.pipeline() as together:
            together.delete(_key(ticket))
            together.zrem(TICKETS, ticket)
            together.execute()

    def _column(self, field: str) -> dict[str, str]:
        """Return one field of all orders that are not too old, by ticket."""
        client = self._link.client
        client.zremrangebyscore(TICKETS, 0, time.monotonic() + self._link.shift)
        tickets = cast("list[str]", client.zrange(TICKETS, 0, -1))
        with client.pipeline() as together:
            for ticket in tickets:
                together.hget(_key(ticket), field)
            found = together.execute(raise_on_error=False)  # one that is no order is none
        return {ticket: held for ticket, held in zip(tickets, found, strict=True) if isinstance(held, str)}


def _key(ticket: str) -> str:
    return f"kav:ticket:{ticket}"

"""Looks after calls that Kav has placed and nobody has answered: one of which nothing is heard is asked for over REST.

A call that somebody answers has an entry, whose aftermath looks after it; one that nobody answers has only its status
callbacks, which may be lost. What Twilio says then is written down where nobody else has written how the call ended.
"""

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import gevent
from sqlalchemy.exc import SQLAlchemyError

import stream_registry
from kav.call.aftermath import Retry, retry
from kav.records import Records
from kav.records.database import summary
from kav.records.errors import RecordsError
from kav.settings import Settings
from kav.tickets import Order, Tickets
from kav.wire.twilio_rest import NewCall, TwilioRest, TwilioRestError, UnreachableError
from stream_registry import TERMINAL_STATUSES

RING_S: Final = 45
"""How long a telephone rings: voicemail takes most calls after 20 to 30 s, and nobody runs longer than this."""

LINE_MARGIN_S: Final = 60
"""What Twilio adds to the longest call before it cuts the line by itself, should Kav be gone."""

LONGEST_LINE_S: Final = 4 * 3600  # Twilio's own limit on the length of a call

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Waiting:
    """A call that was placed: the ticket that it may still bring, and when it is asked for."""

    ticket: str
    due_at: float
    failed: Retry | None = None
    being_asked: bool = False


class Placed:
    """The calls that this process has placed. `patience_s`: from a call's order to the question what became of it."""

    def __init__(self, records: Records, rest: TwilioRest, tickets: Tickets, patience_s: float) -> None:
        self._records, self._rest, self._tickets = records, rest, tickets
        self._patience_s = patience_s
        self._waiting: dict[str, _Waiting] = {}

    def expect(self, call_sid: str, ticket: str) -> None:
        """Twilio has taken the order for a call."""
        self._waiting[call_sid] = _Waiting(ticket, time.monotonic() + self._patience_s)

    def look(self, now: float) -> None:
        """Let go of calls that were heard of, and ask for those that are due; never waits."""
        for call_sid, waiting in list(self._waiting.items()):
            if stream_registry.get(call_sid) is not None or stream_registry.is_forgotten(call_sid):
                self._waiting.pop(call_sid)
            elif not waiting.being_asked and now >= waiting.due_at:
                waiting.being_asked = True
                gevent.spawn(self._ask, call_sid, waiting, now)

    def _ask(self, call_sid: str, waiting: _Waiting, now: float) -> None:
        """Ask for one call; this greenlet's root."""
        done = True
        try:
            done = self._is_over(call_sid, waiting)
        except (UnreachableError, RecordsError, SQLAlchemyError) as error:
            log.error("what became of a call is not known: %s", _told(error), extra={"call_sid": call_sid})
            done = False
        except TwilioRestError as error:
            log.error("what became of a call is not known: %s", error, extra={"call_sid": call_sid})
        finally:
            waiting.being_asked = False
            if done or not self._put_off(call_sid, waiting, now):
                self._waiting.pop(call_sid, None)

    def _put_off(self, call_sid: str, waiting: _Waiting, now: float) -> bool:
        waiting.failed = retry(waiting.failed, now)
        if waiting.failed is None:
            log.error("given up: what became of a call that was placed", extra={"call_sid": call_sid})
            return False
        waiting.due_at = waiting.failed.due_at
        return True

    def _is_over(self, call_sid: str, waiting: _Waiting) -> bool:
        """Whether there is no more to ask: the record says how the call went, another process has it, or Twilio says.

        Raises TwilioRestError, RecordsError, SQLAlchemyError.
        """
        call = self._records.get_call(call_sid) or {}
        if call.get("terminal_status") or call.get("started_at"):
            return True
        fetched = self._rest.fetch_status(call_sid)
        log.warning("nothing was heard of a call that was placed: %s", fetched, extra={"call_sid": call_sid})
        if fetched is None or fetched[0] not in TERMINAL_STATUSES:
            return fetched is None
        self._tickets.drop(waiting.ticket)
        stream_registry.note_over(call_sid)
        self._records.save_call_status(call_sid, fetched[0], fetched[1], "outbound")
        if not call.get("end_reason"):
            self._records.save_call(call_sid, ended_at=datetime.now(UTC), end_reason=f"call_status_{fetched[0]}")
        return True


def new_call(settings: Settings, order: Order, ticket: str) -> NewCall:
    """Return what Twilio is asked to place for an order."""
    hooks = f"{settings.base_url}/twilio"
    transfer_s = order.flow.transfer.ring_s + order.flow.transfer.time_limit_s if order.flow.transfer else 0
    return NewCall(
        to=order.to,
        from_=order.from_,
        voice_url=f"{hooks}/outbound-voice?ticket={ticket}",
        fallback_url=f"{hooks}/voice-fallback",
        status_url=f"{hooks}/status?ticket={ticket}",
        machine_url=f"{hooks}/machine?ticket={ticket}",
        waits_for_beep=bool(order.flow.machine_message),
        ring_s=RING_S,
        time_limit_s=min(int(settings.MAX_CALL_S) + transfer_s + LINE_MARGIN_S, LONGEST_LINE_S),
    )


def _told(error: Exception) -> str:
    """What an error says; a database's would say the statement as well."""
    return str(error) if isinstance(error, UnreachableError) else summary(error)

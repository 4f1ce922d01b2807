"""Asks how calls have ended whose process is gone: killed, or stopped before Twilio told it.

The records say which calls those are, and give each to one process (`kav.records.leases`). Twilio is asked and nothing
else: nobody here knows who is on the line, so a call that goes on is left to go on, and asked about again later.
"""

import logging
import time
from collections.abc import Iterable
from typing import Final

import gevent

from kav.call.aftermath import LAST_UNHEARD_S, UNHEARD_FOR_S, Retry, retry
from kav.records import Records
from kav.wire.twilio_rest import RefusedCredentialsError, TwilioRest, TwilioRestError, UnreachableError
from stream_registry import TERMINAL_STATUSES

MOST_FAILURES: Final = 3
"""In a row: Twilio is away, or does not take these credentials, and the others need not try each."""

log = logging.getLogger(__name__)


class Unheard:
    """The calls that this process has taken over."""

    def __init__(self, records: Records, rest: TwilioRest) -> None:
        self._records, self._rest = records, rest
        self._waiting: dict[str, Retry] = {}
        """By CallSid, who has waited longest first: when it is asked about."""
        self.asking = False
        """Whether Twilio is being asked just now."""

    def look(self, now: float) -> None:
        """Take what has fallen to this process, and begin to ask for what is due; never waits."""
        for call_sid in self._records.unheard():
            if self._rest.has_credentials:
                self._waiting.setdefault(call_sid, Retry(0, now, now))
        due = [call_sid for call_sid, waiting in self._waiting.items() if waiting.due_at <= now]
        if due and not self.asking:
            self.asking = True
            gevent.spawn(self._ask, due)

    def _ask(self, due: list[str]) -> None:
        """Ask for one call after the other, for there may be hundreds; this greenlet's root."""
        failures = 0
        try:
            for place, call_sid in enumerate(due):
                failures = 0 if self._asked(call_sid) else failures + 1
                if failures == MOST_FAILURES:
                    self._put_off(due[place + 1 :])
                    return
        finally:
            self.asking = False

    def _asked(self, call_sid: str) -> bool:
        """Ask for one call; whether Twilio answered."""
        answered, over = True, True
        try:
            over = self._is_over(call_sid)
        except TwilioRestError as error:
            log.error("how a call ended is not known: %s", error, extra={"call_sid": call_sid})
            answered = not isinstance(error, (UnreachableError, RefusedCredentialsError))
            over = answered  # as good as over: it would be refused again
        waiting = self._waiting.pop(call_sid)
        if not over:
            self._waiting[call_sid] = waiting  # behind all others
            self._put_off([call_sid])
        return answered

    def _is_over(self, call_sid: str) -> bool:
        """Whether Twilio says how the call ended, or that there is none. Raises TwilioRestError."""
        fetched = self._rest.fetch_status(call_sid)
        log.warning("nobody has heard how a call ended; fetched: %s", fetched, extra={"call_sid": call_sid})
        if fetched is None:
            return True
        if fetched[0] in TERMINAL_STATUSES:
            self._records.save_call_status(call_sid, fetched[0], fetched[1])
        return fetched[0] in TERMINAL_STATUSES

    def _put_off(self, call_sids: Iterable[str]) -> None:
        now = time.monotonic()
        for call_sid in call_sids:
            again = retry(self._waiting[call_sid], now, last_s=LAST_UNHEARD_S, for_s=UNHEARD_FOR_S)
            if again is not None:
                self._waiting[call_sid] = again
                continue
            log.error("given up: how a call ended", extra={"call_sid": call_sid})
            del self._waiting[call_sid]

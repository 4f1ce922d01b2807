"""The greenlet that tells other processes what has changed here, and asks what has changed there: many calls at a time.

However far Redis is, one way there and back serves `MOST_AT_ONCE` calls; those that have changed go first.
"""

import logging
import time
from collections.abc import Callable, Iterable
from itertools import chain, islice
from typing import Final, Protocol

import gevent
from gevent.event import Event

import stream_registry
from kav.shared.link import MOST_AT_ONCE, AwayError, Link
from kav.shared.patience import LOOK_S, ROUND_S, SELDOM_S

BUSY_S: Final = 0.01
"""How soon a call is tried again, at the end, of which somebody else was telling."""

log = logging.getLogger(__name__)


class Calls(Protocol):
    """What is told of, and asked about."""

    def moved(self) -> Iterable[str]:
        """Return the calls whose script has moved: no event says so."""

    def unsettled(self) -> Iterable[str]:
        """Return the calls that Redis does not have as they are here, and those that may still change there."""

    def meet_all(self, call_sids: Iterable[str]) -> list[str]:
        """Tell and ask of these calls; return those of which somebody else is just telling. Raises AwayError."""

    def forget_all(self, call_sids: Iterable[str]) -> None:
        """Tell that these calls are over for good. Raises AwayError."""


class Teller:
    """What is to be told and asked, and in which order."""

    def __init__(self, link: Link, calls: Calls, clock: Callable[[], float] = time.monotonic) -> None:
        self._link, self._calls, self._clock = link, calls, clock
        self._to_tell: dict[str, None] = {}
        """Calls that have changed here, or there."""
        self._to_ask: dict[str, None] = {}
        """Calls whose turn it is; they wait for those."""
        self._over: dict[str, None] = {}
        self._news = Event()
        self._stopping = Event()
        self._round_due = self._seldom_due = 0.0

    def changed(self, call_sid: str) -> None:
        """Have a call told of soon; never waits."""
        self._to_tell[call_sid] = None
        self._news.set()

    def over(self, call_sid: str) -> None:
        """Have it told that a call is over for good; never waits."""
        self._over[call_sid] = None
        self._news.set()

    def all_changed(self) -> None:
        """Have every call told of and asked about soon; never waits."""
        self._to_tell |= dict.fromkeys(stream_registry.registry)
        self._news.set()

    def run(self) -> None:
        """Tell and ask until `stop`."""
        goes_on = False
        while not self._stopping.is_set():
            if not goes_on:
                self._news.wait(LOOK_S)
            self._news.clear()
            try:
                self._look()
                goes_on = not self._link.away and self._tell_some()
            except AwayError:  # the sign of life's greenlet looks for it
                goes_on = False
            except Exception:  # this greenlet's root: sharing goes on
                goes_on = False
                log.exception("sharing failed")
                self._stopping.wait(ROUND_S)

    def stop(self) -> None:
        """Begin nothing more; `tell_all` may follow when `run` has returned."""
        self._stopping.set()
        self._news.set()

    def tell_all(self) -> None:
        """Tell all that is still to be told. Raises AwayError."""
        self._to_ask.clear()
        self._to_tell |= dict.fromkeys(self._calls.unsettled())
        while self._to_tell or self._over:
            if not self._tell_some():
                gevent.sleep(BUSY_S)

    @property
    def untold(self) -> int:
        """How many calls are still to be told of."""
        return len(self._to_tell | self._over)

    def _look(self) -> None:
        """Have those calls told of that say nothing of it themselves, and asked about whose turn it is."""
        self._to_tell |= dict.fromkeys(self._calls.moved())
        now = self._clock()
        if now >= self._seldom_due:
            self._seldom_due = now + SELDOM_S
            self._to_ask |= dict.fromkeys(stream_registry.registry)
        if now >= self._round_due:
            self._round_due = now + ROUND_S
            self._to_ask |= dict.fromkeys(self._calls.unsettled())

    def _tell_some(self) -> bool:
        """Tell and ask of as many as go at once; returns whether it helps to go on at once. Raises AwayError."""
        turn = list(dict.fromkeys(islice(chain(self._to_tell, self._to_ask), MOST_AT_ONCE)))
        for call_sid in turn:
            self._to_tell.pop(call_sid, None)
            self._to_ask.pop(call_sid, None)
        left = turn
        try:
            left = self._calls.meet_all(turn)
        finally:
            self._to_tell |= dict.fromkeys(left)
        over = list(islice(self._over, MOST_AT_ONCE))
        self._calls.forget_all(over)
        for call_sid in over:
            self._over.pop(call_sid, None)
        return len(left) < len(turn) + len(over) and bool(self._to_tell or self._to_ask or self._over)

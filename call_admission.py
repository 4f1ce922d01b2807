"""Asks whether a new call may be taken: gathers how things are, and leaves the ruling to `kav.call.admission`.

On the voice webhook's way there is no database: what the day has cost is read beside it. What several processes count
together they ask Redis for, which the webhook waits for anyhow.
"""

import logging
import math
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from gevent.event import Event
from sqlalchemy.exc import SQLAlchemyError

import stream_registry
from kav.call.admission import (
    Callers,
    Counted,
    Counts,
    Hindrance,
    Limits,
    Load,
    Newcomer,
    Verdict,
    hindrance,
    is_blocked,
    is_withheld,
    rule,
)
from kav.records import Records
from kav.records.errors import RecordsError
from kav.settings import Settings
from media_desk import MediaDesk
from stream_registry import Entry

MICRO: Final = 1_000_000
READ_SPENDING_S: Final = 10.0
"""How old may be what is known of other processes' spending; one's own is known at once."""

log = logging.getLogger(__name__)


class Admission:
    """The limits of one installation, and who has called."""

    def __init__(self, settings: Settings, media: MediaDesk, counts: Counts | None = None) -> None:
        self._settings, self._media, self._counts = settings, media, counts
        self._callers = Callers()
        self._stopping = Event()

    def rule(self, entry: Entry) -> Verdict:
        """Say what becomes of a call that has just come in, and count it."""
        verdict = self._verdict(entry, self._limits(entry))
        if verdict == "take":  # who is told to call again does, and must not be locked out for it
            self._callers.note(entry["from_number"], time.monotonic())
        return verdict

    def has_room(self, entry: Entry) -> bool:
        """Whether a call that Kav has placed, and that somebody has just answered, can be carried."""
        limits = replace(self._limits(entry), caller_calls=0, spend_micro_usd=0)  # the order was held to those
        return self._verdict(entry, limits) == "take"

    def hindrance(self, entry: Entry) -> Hindrance | None:
        """Say what is in the way of a call that no telephone network brings: it has no caller to count or to block."""
        limits = replace(self._limits(entry), caller_calls=0)
        newcomer = self._newcomer(entry, limits)
        hindered = hindrance(self._load(entry, self._counted(newcomer, limits)), limits)
        if hindered is not None:
            self._turn_away(newcomer, hindered)
        return hindered

    def _verdict(self, entry: Entry, limits: Limits) -> Verdict:
        newcomer = self._newcomer(entry, limits)
        load = self._load(entry, self._counted(newcomer, limits))
        verdict = rule(load, limits, has_human=entry["flow"].transfer is not None)
        if verdict != "take":
            self._turn_away(newcomer, verdict)
        return verdict

    def _turn_away(self, newcomer: Newcomer, why: Verdict | Hindrance) -> None:
        if self._counts is not None:
            self._counts.withdraw(newcomer)
        log.warning("call not taken: %s", why, extra={"call_sid": newcomer.call_sid})

    def watch_spending(self, records: Records) -> None:
        """Learn again and again, until `stop`, what all processes have spent today, before this one's boot as well."""
        away = False
        while self._settings.DAILY_SPEND_CAP_USD:
            try:
                self._read_spending(records)
                away = False
            except (RecordsError, SQLAlchemyError):
                if not away:
                    log.warning("what was spent today cannot be read; asking again every %d s", READ_SPENDING_S)
                away = True
            if self._stopping.wait(READ_SPENDING_S):
                return

    def stop(self) -> None:
        """Ask the records no more."""
        self._stopping.set()

    def _read_spending(self, records: Records) -> None:
        day = today(self._settings)
        since = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(self._settings.KAV_TIMEZONE))
        self._media.spending.recorded(day, records.cost_micro_usd(since, datetime.now(UTC) + timedelta(days=1)))

    def _newcomer(self, entry: Entry, limits: Limits) -> Newcomer:
        """Return what of a call is limited."""
        number = entry["from_number"] if limits.caller_calls and not is_withheld(entry["from_number"]) else ""
        return Newcomer(entry["call_sid"], number, entry["business"] if limits.business_calls else "")

    def _counted(self, newcomer: Newcomer, limits: Limits) -> Counted | None:
        """Return what all processes have counted, the call among it if it has a place; None: they know no others."""
        return self._counts.admit(newcomer, limits) if self._counts is not None else None

    def _load(self, entry: Entry, counted: Counted | None) -> Load:
        others = [each for each in stream_registry.registry.values() if not each["ended"] and each is not entry]
        of_business = sum(each["business"] == entry["business"] for each in others)
        of_caller = self._callers.count(entry["from_number"], time.monotonic())
        return Load(
            calls=max(len(others), self._media.sockets),
            business_calls=counted.business_calls if counted is not None else of_business,
            caller_calls=max(of_caller, counted.caller_calls) if counted is not None else of_caller,
            blocked=entry["direction"] == "inbound"
            and is_blocked(entry["from_number"], self._settings.BLOCKED_NUMBERS),
            late=self._media.lateness.late,
            draining=self._media.draining,
            spent_micro_usd=self._media.spending.today(today(self._settings)),
        )

    def _limits(self, entry: Entry) -> Limits:
        return Limits(
            calls=self._settings.MAX_CALLS,
            business_calls=entry["flow"].max_calls,
            caller_calls=self._settings.CALLS_PER_CALLER_PER_HOUR,
            spend_micro_usd=cap_micro_usd(self._settings),
        )


def spent_out(settings: Settings, media: MediaDesk) -> bool:
    """Whether the models have cost today what they may."""
    return 0 < cap_micro_usd(settings) <= media.spending.today(today(settings))


def cap_micro_usd(settings: Settings) -> int:
    """Return what the models may cost a day; 0: anything."""
    return math.ceil(settings.DAILY_SPEND_CAP_USD * MICRO)


def today(settings: Settings) -> date:
    """Return the date at the business: money is counted by its days."""
    return datetime.now(ZoneInfo(settings.KAV_TIMEZONE)).date()

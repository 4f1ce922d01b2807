"""Asks whether a new call may be taken: gathers how things are, and leaves the ruling to `kav.call.admission`.

Everything is kept in memory: on the voice webhook's way there is no database.
"""

import logging
import math
import time
from datetime import UTC, date, datetime
from typing import Final
from zoneinfo import ZoneInfo

import gevent
from sqlalchemy.exc import SQLAlchemyError

import stream_registry
from kav.call.admission import Callers, Limits, Load, Verdict, is_blocked, rule
from kav.records import Records
from kav.records.errors import RecordsError
from kav.settings import Settings
from media_desk import MediaDesk
from stream_registry import Entry

MICRO: Final = 1_000_000
READ_AGAIN_S: Final = 30.0
"""Pause before what was spent before the boot is asked for again, while the database is away."""

log = logging.getLogger(__name__)


class Admission:
    """The limits of one installation, and who has called."""

    def __init__(self, settings: Settings, media: MediaDesk) -> None:
        self._settings, self._media = settings, media
        self._callers = Callers()

    def rule(self, entry: Entry) -> Verdict:
        """Say what becomes of a call that has just come in, and count it."""
        verdict = rule(self._load(entry), self._limits(entry), has_human=entry["flow"].transfer is not None)
        self._callers.note(entry["from_number"], time.monotonic())
        if verdict != "take":
            log.warning("call not taken: %s", verdict, extra={"call_sid": entry["call_sid"]})
        return verdict

    def load_spending(self, records: Records) -> None:
        """Learn what was spent today before this process began; asks until the database answers."""
        if not self._settings.DAILY_SPEND_CAP_USD:
            return
        day, until = today(self._settings), datetime.now(UTC)
        since = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(self._settings.KAV_TIMEZONE))
        while today(self._settings) == day:
            try:
                self._media.spending.before(day, records.cost_micro_usd(since, until))
                return
            except (RecordsError, SQLAlchemyError):
                log.warning("what was spent today cannot be read; asking again in %d s", READ_AGAIN_S)
                gevent.sleep(READ_AGAIN_S)

    def _load(self, entry: Entry) -> Load:
        others = [each for each in stream_registry.registry.values() if not each["ended"] and each is not entry]
        return Load(
            calls=max(len(others), self._media.sockets),
            business_calls=sum(each["business"] == entry["business"] for each in others),
            caller_calls=self._callers.count(entry["from_number"], time.monotonic()),
            blocked=is_blocked(entry["from_number"], self._settings.BLOCKED_NUMBERS),
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

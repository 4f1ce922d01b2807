"""Logins that were left before their time: on record, so that a logout outlives a restart and reaches every process.

A cookie that somebody kept is asked about again every few seconds. While the database gives no answer, what this
process knows itself is all there is: the console shows live calls all the same.
"""

import logging
import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, delete, exists, select
from sqlalchemy.exc import SQLAlchemyError

from kav.records import Records
from kav.records.backlog import Operation
from kav.records.errors import RecordsError
from kav.records.models import LOGOUTS
from kav.records.upserts import merge

ASK_EVERY_S: Final = 5.0
"""How long a logout elsewhere may take to be known here."""
ASK_AGAIN_S: Final = 30.0
"""After the database gave no answer."""
MOST_KNOWN: Final = 1000

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Leave:
    """The operation that puts a logout on record, and forgets those whose logins have expired by themselves."""

    login: str
    until: datetime
    row: Hashable = None

    def joined(self, later: Operation) -> Operation:
        """The later one."""
        return later

    def apply(self, connection: Connection) -> str:
        """Store it."""
        connection.execute(delete(LOGOUTS).where(LOGOUTS.c.until < datetime.now(UTC)))
        values = {"login": self.login, "until": self.until}
        connection.execute(merge(connection.dialect.name, LOGOUTS, tuple(values)), values)
        return ""

    def told(self) -> Mapping[str, Any]:
        """What is lost when it cannot be stored; the login itself is in a cookie, and no line needs it."""
        return {"type": "Logout", "until": self.until.isoformat()}


@dataclass(slots=True)
class Logouts:
    """Which logins were left; without records, those of this process."""

    records: Records | None = None
    _left: dict[str, float] = field(default_factory=dict)
    """Until when each would have lasted, seconds since 1970."""
    _ask_at: dict[str, float] = field(default_factory=dict)
    """Monotonic seconds at which a login that was not left is asked about again."""

    def add(self, login: str, until: float) -> None:
        """Note that a login was left."""
        now = time.time()
        self._left = {key: end for key, end in self._left.items() if end > now} | {login: until}
        if self.records is not None:
            self.records.submit(Leave(login, datetime.fromtimestamp(until, UTC)))

    def has(self, login: str) -> bool:
        """Whether a login was left, here or in another process; may wait for the database."""
        if login not in self._left and self.records is not None and time.monotonic() >= self._ask_at.get(login, 0.0):
            self._ask(self.records, login)
        return login in self._left

    def _ask(self, records: Records, login: str) -> None:
        if len(self._ask_at) >= MOST_KNOWN:
            self._ask_at.clear()
        self._ask_at[login] = time.monotonic() + ASK_AGAIN_S  # for whoever asks in the meantime
        known = select(exists().where(LOGOUTS.c.login == login))
        try:
            if records.read(lambda connection: bool(connection.execute(known).scalar_one())):
                self._left[login] = float("inf")
            self._ask_at[login] = time.monotonic() + ASK_EVERY_S
        except (RecordsError, SQLAlchemyError):
            log.warning("whether a console login was left elsewhere is not known now: the database gives no answer")

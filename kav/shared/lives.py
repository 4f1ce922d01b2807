"""Which processes live: each shows that it does, and the calls of those that do not are another's to look after.

The sign of life has a greenlet of its own: nothing that is told or asked of Redis, however slowly, comes before it.
"""

import json
import logging
import time
from collections.abc import Callable
from typing import Final

from gevent.event import Event

from kav.shared import scripts
from kav.shared.link import Link, UnansweredError
from kav.shared.patience import LOOK_S, ROUND_S

ALIVE_EVERY_S: Final = 2.0
ALIVE_FOR_S: Final = 8
"""After this long without a sign of life, a process's calls are looked after by another."""

log = logging.getLogger(__name__)


class Lives:
    """This process's sign of life, and what it takes over from those that show none.

    Args:
        link: the way to Redis.
        me: this process.
        missed: called when others may have taken this process for dead, or Redis was away.
        inherit: called while there are calls in `taken`, which it takes out; must not wait.
    """

    def __init__(self, link: Link, me: str, missed: Callable[[], None], inherit: Callable[[], None]) -> None:
        self._link, self._me, self._missed, self._inherit = link, me, missed, inherit
        self._stopping = Event()
        self._patient_until = time.monotonic() + ALIVE_FOR_S
        """Nobody is taken for dead before: after a pause of Redis's, nobody has shown a sign of life."""
        self.taken: dict[str, None] = {}
        """Calls that are this process's by now, and are still to be read."""

    def run(self) -> None:
        """Show until `stop` that this process lives; look for a Redis that is away."""
        while not self._stopping.is_set():
            began_at, again_s = time.monotonic(), ALIVE_EVERY_S
            try:
                self.beat()
            except UnansweredError:  # the link has said so
                again_s = ROUND_S
            except Exception:  # this greenlet's root: whoever lives shows it
                log.exception("showing that this process lives failed")
            while not self._stopping.wait(LOOK_S) and time.monotonic() < self._due(began_at, again_s):
                pass  # Redis may be lost to somebody else meanwhile: then it is looked for sooner

    def stop(self) -> None:
        """Show no further sign of life."""
        self._stopping.set()

    def beat(self) -> None:
        """Show that this process lives, and take over the calls of those that do not. Raises UnansweredError."""
        was_away = self._link.away
        if was_away and not self._link.probe():
            self._patient_until = time.monotonic() + 2 * ALIVE_FOR_S
            return
        lived = self._link.script(scripts.LIVE, [scripts.process_key(self._me)], [ALIVE_FOR_S])
        if was_away or not lived:
            self._missed()
        if time.monotonic() >= self._patient_until:
            self.taken |= dict.fromkeys(self._link.script(scripts.TAKE_OVER, [scripts.CALLS], [json.dumps(self._me)]))
        if self.taken:
            self._inherit()

    def end(self) -> None:
        """Let the others know that this process is gone. Raises UnansweredError."""
        self._link.ask(lambda: self._link.client.delete(scripts.process_key(self._me)))

    def _due(self, began_at: float, again_s: float) -> float:
        since = self._link.away_since
        return began_at + again_s if since is None else max(began_at, since) + ROUND_S

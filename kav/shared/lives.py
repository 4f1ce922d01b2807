"""Which processes live: each shows that it does, and the calls of those that do not are another's to look after."""

import json
import time
from typing import Final

from kav.shared import scripts
from kav.shared.link import Link

ALIVE_EVERY_S: Final = 2.0
ALIVE_FOR_S: Final = 8
"""After this long without a sign of life, a process's calls are looked after by another."""


class Lives:
    """This process's sign of life, and what it takes over from those that show none."""

    def __init__(self, link: Link, me: str) -> None:
        self._link, self._me = link, me
        self._patient_until = time.monotonic() + ALIVE_FOR_S
        """Nobody is taken for dead before: after a pause of Redis's, nobody has shown a sign of life."""
        self.taken: dict[str, None] = {}
        """Calls that are this process's by now, and are still to be read."""

    def beat(self) -> None:
        """Show that this process lives, and take over the calls of those that do not. Raises UnansweredError."""
        if self._link.away and not self._link.probe():
            self._patient_until = time.monotonic() + 2 * ALIVE_FOR_S
            return
        self._link.ask(lambda: self._link.client.set(scripts.process_key(self._me), "1", ex=ALIVE_FOR_S))
        if time.monotonic() < self._patient_until:
            return
        self.taken |= dict.fromkeys(self._link.script(scripts.TAKE_OVER, [scripts.CALLS], [json.dumps(self._me)]))

    def end(self) -> None:
        """Let the others know that this process is gone. Raises UnansweredError."""
        self._link.ask(lambda: self._link.client.delete(scripts.process_key(self._me)))

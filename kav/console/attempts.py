"""How often somebody may try a password: some times from one address, more often from all of them together. Pure.

Only failures count, in a window that slides; times are monotonic seconds.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

WINDOW_S: Final = 300.0
PER_ADDRESS: Final = 5
"""Wrong passwords from one address in a window: enough for a human who mistypes."""
ALTOGETHER: Final = 60
"""Wrong passwords from everybody: whoever has many addresses is slowed down all the same."""


@dataclass(slots=True)
class Attempts:
    """The failures of one window."""

    _failures: deque[tuple[float, str]] = field(default_factory=deque)

    def wait_s(self, now: float, address: str) -> float:
        """Return in how many seconds this address may try again; 0 is now."""
        while self._failures and now - self._failures[0][0] >= WINDOW_S:
            self._failures.popleft()
        own = [at for at, who in self._failures if who == address]
        waits = [WINDOW_S - (now - own[-PER_ADDRESS])] if len(own) >= PER_ADDRESS else []
        if len(self._failures) >= ALTOGETHER:
            waits.append(WINDOW_S - (now - self._failures[-ALTOGETHER][0]))
        return max(waits, default=0.0)

    def failed(self, now: float, address: str) -> None:
        """Count a wrong password."""
        self._failures.append((now, address))

    def succeeded(self, address: str) -> None:
        """Forget what an address did wrong before it was right."""
        self._failures = deque((at, who) for at, who in self._failures if who != address)

"""How long the line has been silent while it was the caller's turn: asks once, then ends the call without a word.

The clock runs only while the bot is idle: all of its audio has been played, and no response, tool or transfer is
pending. The caller's speech or a key resets it; the bot's own speech only stops it, for a bot whose own voice resets
the clock talks to an empty line for ever.
"""

from dataclasses import dataclass
from typing import Literal

LONGEST_STEP_S = 0.5
"""The most that one look adds: a process that stood still has not heard the caller be silent."""


@dataclass(slots=True)
class SilenceClock:
    """Seconds of silence so far; `tick` is called several times a second."""

    ask_after_s: float = 4.0
    close_after_s: float = 7.0
    silent_s: float = 0.0
    _asked: bool = False
    _last: float | None = None

    def reset(self) -> None:
        """The caller spoke, or pressed a key."""
        self.silent_s, self._asked, self._last = 0.0, False, None

    def tick(self, at: float, *, idle: bool) -> Literal["ask", "close"] | None:
        """Look at the clock: `idle` tells whether it is the caller's turn, with nothing of the bot's pending."""
        if not idle:
            self._last = None
            return None
        if self._last is not None:
            self.silent_s += min(max(0.0, at - self._last), LONGEST_STEP_S)
        self._last = at
        if self.silent_s >= self.close_after_s:
            return "close"
        if self.silent_s >= self.ask_after_s and not self._asked:
            self._asked = True
            return "ask"
        return None

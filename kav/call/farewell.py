"""When a goodbye is one: the closing was said to its end, and the caller has heard it.

Barge-in takes the hang-up back, so that nobody is cut off in a sentence; the third goodbye stands, so that nobody is
told goodbye for ever. A closing that was cancelled or left incomplete is no goodbye. What was said because the process
stops is not taken back.
"""

from dataclasses import dataclass
from typing import Final

from kav.call.actions import EndReason

TAKEN_BACK_AT_MOST: Final = 2


@dataclass(slots=True)
class Farewell:
    """The goodbye of one call."""

    taken_back: int = 0
    reason: EndReason = "goodbye"
    """Why the call ends when the closing was heard."""
    _said: bool = False

    @property
    def said(self) -> bool:
        """Whether the closing was said to its end, and the call ends as soon as it is heard."""
        return self._said

    def say(self, reason: EndReason = "goodbye") -> None:
        """The closing's response was completed."""
        self._said, self.reason = True, reason

    def lose(self) -> None:
        """The stream is lost, and with it what was not heard to its end."""
        self._said = False

    def interrupt(self) -> bool:
        """The caller speaks; return whether the call ends all the same."""
        if not self._said:
            return False
        if self.taken_back >= TAKEN_BACK_AT_MOST or self.reason != "goodbye":
            return True
        self.taken_back += 1
        self._said = False
        return False

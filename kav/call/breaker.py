"""Whether an endpoint of the model that has failed is worth asking: callers do not wait for one that is down."""

from dataclasses import dataclass
from typing import Final

FAILURES: Final = 3
"""Failures in a row after which an endpoint is left alone: two may be an accident of the network."""

FIRST_REST_S: Final = 1.0
"""How long it is left alone at first; twice as long each time that it fails again: most outages are short."""

LIMITED_S: Final = 10.0
"""How long one that has said "too many requests", and not for how long, is asked only where there is no other."""

MAX_LIMITED_S: Final = 60.0


@dataclass(slots=True)
class Breaker:
    """What is known of one endpoint; all times are monotonic seconds."""

    rest_s: float
    """How long it is left alone at the most; then one connection tries whether it is back. 0: it never is."""
    failures: int = 0
    _rest_s: float = 0.0
    """How long it is left alone this time."""
    _rests_until: float = 0.0
    _tried: bool = False
    """Somebody finds out whether it is back."""
    _limited_until: float = 0.0

    def allows(self, at: float) -> bool:
        """Whether the endpoint may be asked now; where it is only tried, by one connection at a time."""
        if not self.rest_s or self.failures < FAILURES:
            return True
        if at < self._rests_until:
            return False
        self._rests_until, self._tried = at + self._rest_s, True
        return True

    def is_limited(self, at: float) -> bool:
        """Whether it wants to be asked less."""
        return at < self._limited_until

    def rests_s(self, at: float) -> float:
        """Return for how long it is left alone from now on."""
        return max(0.0, self._rests_until - at) if self.rest_s and self.failures >= FAILURES else 0.0

    def failed(self, at: float) -> bool:
        """It was not reached, or did not do what it was asked; returns whether it is left alone from now on."""
        self.failures += 1
        if self.failures == FAILURES or self._tried:  # not for those that were under way when it was left alone
            self._rest_s = min(self.rest_s, max(FIRST_REST_S, 2 * self._rest_s))
            self._rests_until, self._tried = at + self._rest_s, False
        return bool(self.rest_s) and self.failures == FAILURES

    def limited(self, at: float, for_s: float = LIMITED_S) -> None:
        """It said that there are too many requests."""
        self._limited_until = max(self._limited_until, at + min(for_s, MAX_LIMITED_S))

    def answered(self) -> None:
        """It is there: whoever comes may ask it, but one that does nothing more is left alone again."""
        self.failures, self._tried = min(self.failures, FAILURES - 1), False

    def worked(self) -> None:
        """It did what it was asked."""
        self.failures, self._rest_s, self._tried = 0, 0.0, False

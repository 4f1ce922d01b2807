"""Whether an endpoint of the model that has failed is worth asking: callers do not wait for one that is down."""

from dataclasses import dataclass
from typing import Final

FAILURES: Final = 3
"""Failures in a row after which an endpoint is left alone: two may be an accident of the network."""

REST_S: Final = 30.0
"""How long it is left alone; then one connection tries whether it is back."""

LIMITED_S: Final = 10.0
"""How long one that has said "too many requests" is left alone: asking again at once makes it worse."""


@dataclass(slots=True)
class Breaker:
    """What is known of one endpoint; all times are monotonic seconds."""

    failures: int = 0
    _closed_until: float = 0.0

    def allows(self, at: float) -> bool:
        """Whether the endpoint may be asked now; where it is only tried, by one connection at a time."""
        if at < self._closed_until:
            return False
        if self.failures >= FAILURES:
            self._closed_until = at + REST_S
        return True

    def failed(self, at: float, *, limited: bool = False) -> None:
        """A connection was refused, or not made in time; `limited`: for there are too many."""
        self.failures += 1
        if limited:
            self._closed_until = max(self._closed_until, at + LIMITED_S)
        elif self.failures >= FAILURES:
            self._closed_until = at + REST_S

    def succeeded(self) -> None:
        """A connection was made."""
        self.failures, self._closed_until = 0, 0.0

"""A slow network, one direction of it: everything arrives later by the same time and in the same order."""

import asyncio
import time
from collections import deque
from collections.abc import Callable


class DelayLine:
    """One direction of a slow network: what is put in happens `delay_s` later, in the order of putting in."""

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def put(self, action: Callable[[], None]) -> None:
        """Do `action` after the delay; at once when there is none and nothing is on its way."""
        if not self.delay_s and not self._waiting:
            action()
            return
        self._waiting.append((time.monotonic() + self.delay_s, action))
        self._arm()

    def _arm(self) -> None:
        if self._waiting and self._timer is None:
            delay = max(0.0, self._waiting[0][0] - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay, self._due)

    def _due(self) -> None:
        self._timer = None
        while self._waiting and self._waiting[0][0] <= time.monotonic():
            self._waiting.popleft()[1]()
        self._arm()

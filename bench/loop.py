"""A small epoll loop: sockets and timers, nothing else, for the generator must be far cheaper than what it measures.

All times in the bench are wall-clock seconds (`time.time`): the kernel stamps what it receives with that clock, and
both ends of every measured way live in this one process.
"""

import heapq
import select
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass

TICK_S = 0.001
"""The loop sleeps in between: two cores of a virtual machine are often one core's two threads, and a generator that is
always awake takes half of what it measures. What arrives bears the kernel's time stamp, so reading late costs nothing.
"""

EVENTS_PER_TICK = 4096


@dataclass(slots=True, eq=False)
class Timer:
    """Something to do later, once or every `period_s`."""

    act: Callable[[], None]
    period_s: float | None
    cancelled: bool = False


class Loop:
    """Runs handlers of readable sockets, and timers."""

    def __init__(self) -> None:
        self.lateness_s = array("d")
        """How late each timer was, since it was last emptied."""
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._count = 0
        self._tick_at = 0.0

    def close(self) -> None:
        self._epoll.close()

    def watch(self, fd: int, handler: Callable[[int], None]) -> None:
        """Call `handler(epoll events)` whenever `fd` is readable."""
        self._handlers[fd] = handler
        self._epoll.register(fd, select.EPOLLIN)

    def want_writable(self, fd: int, wanted: bool) -> None:
        self._epoll.modify(fd, select.EPOLLIN | (select.EPOLLOUT if wanted else 0))

    def forget(self, fd: int) -> None:
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def later(self, delay_s: float, act: Callable[[], None], *, period_s: float | None = None) -> Timer:
        return self.at(time.time() + delay_s, act, period_s=period_s)

    def at(self, due: float, act: Callable[[], None], *, period_s: float | None = None) -> Timer:
        timer = Timer(act, period_s)
        self._count += 1
        heapq.heappush(self._timers, (due, self._count, timer))
        return timer

    def run(self, timeout_s: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Run until `until()` or for `timeout_s`; return whether `until()` came true."""
        end = time.time() + timeout_s
        while not until():
            if time.time() >= end:
                return False
            self._turn()
        return True

    def _turn(self) -> None:
        """Sleep until the next tick, read what has come, then do what is due."""
        self._tick_at = max(self._tick_at + TICK_S, time.time())
        time.sleep(max(0.0, self._tick_at - time.time()))
        for fd, events in self._epoll.poll(0, EVENTS_PER_TICK):
            handler = self._handlers.get(fd)
            if handler is not None:
                handler(events)
        self._fire(time.time())

    def _fire(self, now: float) -> None:
        timers = self._timers
        while timers and timers[0][0] <= now:
            due, number, timer = timers[0]
            if timer.cancelled or timer.period_s is None:
                heapq.heappop(timers)
            else:
                heapq.heapreplace(timers, (due + timer.period_s, number, timer))
            if not timer.cancelled:
                self.lateness_s.append(now - due)
                timer.act()

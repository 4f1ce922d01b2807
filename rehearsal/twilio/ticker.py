"""One clock for all media streams: 50 ticks a second for each, on an absolute schedule, from one timer."""

import asyncio
import time
from collections.abc import Callable

from rehearsal.audio import FRAME_S

SLOTS = 4
"""Streams are spread over the 20 ms, as calls of a real network are; 50 frames in one instant would test bursts."""

Member = Callable[[float], None]


class Ticker:
    """Calls each member every 20 ms with the scheduled time; after a stall it catches up tick by tick, undrifted."""

    def __init__(self) -> None:
        self._slots: list[list[Member]] = [[] for _ in range(SLOTS)]
        self._index = 0
        self._base_s = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, member: Member) -> None:
        """Begin to call `member(scheduled time)`, in the emptiest slot."""
        if self._timer is None:
            self._index, self._base_s = 0, time.monotonic()
            self._arm()
        min(self._slots, key=len).append(member)

    def remove(self, member: Member) -> None:
        """Call it no more; harmless when it is not called anyway."""
        for slot in self._slots:
            if member in slot:
                slot.remove(member)
        if self._timer is not None and not any(self._slots):
            self._timer.cancel()
            self._timer = None

    def _at(self) -> float:
        return self._base_s + self._index * FRAME_S / SLOTS

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_at(self._at(), self._fire)

    def _fire(self) -> None:
        try:
            while self._timer is not None and (at := self._at()) <= time.monotonic():
                members = tuple(self._slots[self._index % SLOTS])
                self._index += 1  # first, so that a member that fails is not called for ever
                for member in members:
                    member(at)
        finally:
            if self._timer is not None:
                self._arm()

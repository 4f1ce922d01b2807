"""What a rehearsal sees of a call, as values, and a way to wait until something is true of it."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

WAIT_S = 10.0
"""How long a condition is awaited unless the caller says otherwise."""
_LOOK_AGAIN_S = 0.02  # conditions about played audio come true by the clock alone


class Received(NamedTuple):
    """A message that the app sent on the media socket: `name` of a mark, `audio` of a media message."""

    at: float
    event: str
    name: str = ""
    audio: bytes = b""


@dataclass(frozen=True)
class Notice:
    """Something that Twilio's debugger would show; `code` is Twilio's."""

    at: float
    code: int
    text: str


@dataclass(frozen=True)
class Asked:
    """A webhook request that this stand-in made, and its answer; status 0 is no answer at all."""

    at: float
    answered_at: float
    url: str
    form: Mapping[str, str]
    status: int
    body: str
    content_type: str = ""


class Changes:
    """Wakes whoever waits for something to become true."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def notify(self) -> None:
        """Something has changed."""
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def until(self, predicate: Callable[[], bool], timeout_s: float, told: Callable[[], str]) -> float:
        """Wait until `predicate()`; returns the monotonic time. Raises TimeoutError with what `told()` says."""
        deadline = time.monotonic() + timeout_s
        while not predicate():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"Not within {timeout_s} s: {told()}")
            await self.wait(min(left, _LOOK_AGAIN_S))
        return time.monotonic()

    async def wait(self, timeout_s: float) -> None:
        """Return at the next change, or after `timeout_s`."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await asyncio.wait([future], timeout=timeout_s)
        finally:
            self._waiting.discard(future)

"""How long sockets outlive the end of their call, by the clocks of the two peers: Kav is not asked.

A trigger is the moment at which a stand-in did what ends a stream: the caller hung up, Twilio reported the end, the
socket was lost. From then on both peers wait for Kav's close frame and FIN. What nobody could do anything about is told
apart: the process was stopped, the machine had no time for it, or the peer did not read.
"""

import asyncio
import os
import time
from bisect import bisect
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rehearsal.peer import Peer

Span = tuple[float, float]
"""From when to when, monotonic seconds."""

LOOK_EVERY_S = 0.05
STANDS_STILL_S = 0.25
"""What a busy machine may keep from an end that still counts; one that lost more, and half its time, is told apart."""


@dataclass
class Stillness:
    """When nothing could happen: the process was stopped, or the machine gave it, or the stand-ins, no time."""

    spans: list[Span] = field(default_factory=list)
    lags_s: list[float] = field(default_factory=list)
    """How late the stand-ins' own loop came round."""
    _waited: list[Span] = field(default_factory=list)
    """At each look: when it was, and how long both processes had waited for a processor until then."""

    def lost_s(self, since: float, until: float) -> float:
        """Return how much of that time was no time at all."""
        return self.stopped_s(since, until) + self._waited_by(until, up=True) - self._waited_by(since, up=False)

    def stopped_s(self, since: float, until: float) -> float:
        """Return how much of that time the process, or the stand-ins, stood still as a whole."""
        return sum(max(0.0, min(until, end) - max(since, begin)) for begin, end in self.spans)

    def _waited_by(self, at: float, *, up: bool) -> float:
        """How long both had waited at the look before `at`, or, `up`, the look after it."""
        place = bisect(self._waited, (at, 0.0)) - (0 if up else 1)
        return self._waited[min(max(place, 0), len(self._waited) - 1)][1] if self._waited else 0.0

    @asynccontextmanager
    async def watched(self, kav_pid: int) -> AsyncIterator[None]:
        """Note what the machine withholds while the block lasts."""
        task = asyncio.create_task(self._watch(kav_pid))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _watch(self, kav_pid: int) -> None:
        while True:
            began = time.monotonic()
            self._waited.append((began, _waited_s(kav_pid) + _waited_s(os.getpid())))
            await asyncio.sleep(LOOK_EVERY_S)
            lag_s = time.monotonic() - began - LOOK_EVERY_S
            self.lags_s.append(lag_s)
            if lag_s > STANDS_STILL_S:
                self.spans.append((began, time.monotonic()))


def _waited_s(pid: int) -> float:
    """Return how long a process's first thread has waited for a processor in its life; 0 where no kernel tells."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (FileNotFoundError, IndexError):
        return 0.0


@dataclass(frozen=True)
class Trigger:
    """What ended a stream, when, and who of the two peers waits for Kav to close."""

    call_sid: str
    what: str
    at: float
    peers: Sequence[Peer]


@dataclass
class Deafness:
    """Which peers did not read, and when."""

    spells: list[tuple[Peer, float]] = field(default_factory=list)
    over: dict[Peer, float] = field(default_factory=dict)

    def begin(self, peer: Peer) -> None:
        """It does not read from now on."""
        self.spells.append((peer, time.monotonic()))

    def end(self, peer: Peer) -> None:
        """It reads again."""
        self.over[peer] = time.monotonic()

    def met(self, peer: Peer, since: float, until: float) -> bool:
        """Whether it did not read at some moment of that time."""
        return any(
            peer is deaf and begin <= until and self.over.get(peer, until) >= since for deaf, begin in self.spells
        )


@dataclass
class Ghosts:
    """What was measured: milliseconds where both peers saw the end; the triggers that say nothing of Kav."""

    ms: list[float] = field(default_factory=list)
    whose: list[Trigger] = field(default_factory=list)
    """Of each of them, what ended the stream."""
    excused: int = 0
    unframed: list[str] = field(default_factory=list)
    """Ends whose peer saw FIN without a close frame before it, by what ended the stream."""

    def add(self, trigger: Trigger, deafness: Deafness, spent: Collection[Peer], still: Stillness) -> None:
        """Measure one end; `spent` peers ended their connection themselves."""
        ends = [(peer, gone_at) for peer in trigger.peers if (gone_at := gone(peer)) is not None]
        heard = [(peer, gone_at) for peer, gone_at in ends if not deafness.met(peer, trigger.at, gone_at)]
        last = max((gone_at for _, gone_at in heard), default=trigger.at)
        stopped_s, lost_s = still.stopped_s(trigger.at, last), still.lost_s(trigger.at, last)
        if not heard or stopped_s > 0 or lost_s > max(STANDS_STILL_S, (last - trigger.at) / 2):
            self.excused += 1  # one that was never closed at all is counted where open sockets are
            return
        self.ms.append(max(0.0, last - trigger.at) * 1000)
        self.whose.append(trigger)
        self.unframed += [trigger.what for peer, _ in heard if peer.close_frame_at is None and peer not in spent]


def gone(peer: Peer) -> float | None:
    """When Kav's end of a connection was seen to be closed; None while it is not."""
    seen = [at for at in (peer.eof_at, peer.reset_at, peer.closed_at) if at is not None]
    return min(seen) if seen else None


def left_open(peers: Iterable[Peer]) -> int:
    """How many of them Kav has not closed."""
    return sum(gone(peer) is None for peer in peers)

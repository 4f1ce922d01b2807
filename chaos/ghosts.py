"""How long sockets outlive the end of their call, by the clocks of the two peers: Kav is not asked.

A trigger is the moment at which a stand-in did what ends a stream: the caller hung up, Twilio reported the end, the
socket was lost. From then on both peers wait for Kav's close frame and FIN. What nobody could do anything about is told
apart: the process was stopped or the machine stood still meanwhile, or the peer did not read.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from rehearsal.peer import Peer

Span = tuple[float, float]
"""From when to when, monotonic seconds."""

LOOK_EVERY_S = 0.05
STANDS_STILL_S = 0.25
"""How late the stand-ins' own loop may be; beyond it, it is the machine that stood still, and their clocks with it."""


@dataclass
class Stillness:
    """When nothing could happen: the process was stopped, or the stand-ins themselves came round late."""

    spans: list[Span] = field(default_factory=list)
    lags_s: list[float] = field(default_factory=list)

    def within(self, since: float, until: float) -> float:
        """Return how many seconds of that time nothing could happen; overlapping spans count twice."""
        return sum(max(0.0, min(until, end) - max(since, begin)) for begin, end in self.spans)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Note how late the stand-ins' loop comes round while the block lasts."""
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _watch(self) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(LOOK_EVERY_S)
            lag_s = time.monotonic() - began - LOOK_EVERY_S
            self.lags_s.append(lag_s)
            if lag_s > STANDS_STILL_S:
                self.spans.append((began, time.monotonic()))


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
        if not heard or still.within(trigger.at, last) > 0:
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

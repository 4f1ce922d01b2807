"""How an end looks from outside: what both stand-ins saw of their sockets, and what stands in Kav's records."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kav.call.playhead import MARK_PATIENCE_S
from rehearsal.model import ModelSession, Script
from rehearsal.peer import Peer
from rehearsal.twilio import Call, CallScript
from rehearsal.world import World

AT_ONCE_S = 3.0
"""Close frame and FIN on both sides, counted from the trigger, on a machine that is busy with much else; `make bench`
holds Kav to a thirtieth of it."""

ECHOED_S = MARK_PATIENCE_S - 0.2
"""The same for an end that waits until the caller has heard the last word, counted from the echo of its mark: a Kav
that is deaf to the echo ends the call all the same, but no sooner than that patience after the word."""

WAIT_S = 10.0


@dataclass(frozen=True)
class Talk:
    """A call whose bot is talking: both ends of it, as the stand-ins hold them."""

    world: World
    call: Call
    session: ModelSession

    async def closed(
        self, since: float, within_s: float = AT_ONCE_S, *, twilio: bool = True, model: bool = True
    ) -> None:
        """Both stand-ins see a close frame and FIN; False excuses a side from the close frame, which has no ears."""
        for peer, framed in ((self.call.socket, twilio), (self.session.peer, model)):
            await fin(peer, since, within_s, framed=framed)

    async def record(self) -> "Record":
        """What is written of the call, once it has ended and all its streams have."""
        return await record(self.world, self.call.sid, lambda found: found.whole and bool(found.streams))

    def finalisations(self) -> int:
        """How often a stream of the call was finalised: each one writes a line."""
        return sum(
            "stream over" in line and self.call.sid in line for line in self.world.kav.log(10_000_000).splitlines()
        )


async def talking(world: World, script: Script | None = None, line: CallScript | None = None) -> Talk:
    """A call that has begun to hear its greeting."""
    call = await world.connected_call(script, line)
    session = await world.session_of(call)
    await call.until_heard(40)
    return Talk(world, call, session)


async def fin(peer: Peer, since: float, within_s: float = AT_ONCE_S, *, framed: bool = True) -> None:
    """The app's close frame and its FIN (not RST) have come on this socket within so many seconds of `since`."""
    async with asyncio.timeout(since + within_s + 1 - time.monotonic()):
        await peer.gone()
    assert peer.eof_at is not None, f"{peer.name}: RST came, and no FIN"
    assert peer.eof_at - since <= within_s, f"FIN came after {peer.eof_at - since:.3f} s"
    if framed:
        assert peer.close_frame_at is not None, f"{peer.name}: FIN came without a close frame"
        assert peer.close_frame_at - since <= within_s


@dataclass(frozen=True)
class Record:
    """A call's row and its streams' rows, as they stand in the database."""

    call: dict[str, Any]
    streams: list[dict[str, Any]]

    @property
    def whole(self) -> bool:
        """Whether the call's end and every stream's end are written."""
        return self.call.get("end_reason") is not None and all(stream["ended_at"] for stream in self.streams)

    @property
    def reasons(self) -> list[str]:
        """The streams' end reasons, oldest stream first."""
        return [stream["end_reason"] for stream in self.streams]


async def record(world: World, call_sid: str, done: Callable[[Record], bool], timeout_s: float = WAIT_S) -> Record:
    """Wait until `done(record)`; the database is another process's, so nothing can be awaited. Raises TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while not done(found := read(world, call_sid)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{call_sid}: the record stays {found}; {world.kav.log()}")
        await asyncio.sleep(0.02)
    return found


def read(world: World, call_sid: str) -> Record:
    """What stands in Kav's database of a call; empty for one it does not know."""
    connection = sqlite3.connect(f"file:{world.kav.database}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    try:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'streams'").fetchall():
            return Record({}, [])  # it has just come up
        calls = connection.execute("SELECT * FROM calls WHERE call_sid = ?", (call_sid,)).fetchall()
        streams = connection.execute("SELECT * FROM streams WHERE call_sid = ? ORDER BY opened_at", (call_sid,))
        return Record(dict(calls[0]) if calls else {}, [dict(stream) for stream in streams])
    finally:
        connection.close()


async def until_healthy(
    world: World, done: Callable[[dict[str, Any]], bool], timeout_s: float = WAIT_S
) -> dict[str, Any]:
    """Wait until /healthz shows it; returns the figures. Raises TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while not done(figures := await world.kav.health()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"/healthz stays at {figures}")
        await asyncio.sleep(0.02)
    return figures

"""The ghost times on record are those that Twilio's and the model's own clocks show, whichever way a call ends."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from statistics import quantiles
from urllib.parse import urlencode, urlsplit

import pytest

from rehearsal.model import CallTool
from rehearsal.twilio.signing import signed_headers
from rehearsal.world import AUTH_TOKEN, World
from tests.line.asking import about
from tests.line.ending import WAIT_S, Record, Talk, record, talking
from tests.line.listening import SPEECH
from tests.line.test_conversation import greeted

FORM = "application/x-www-form-urlencoded"

CLOCKS_AGREE_MS = 5.0
"""In the better quarter of some calls: others may meet a machine that stands still between the two clocks.

What lies between them is the way of a trigger to Kav and of a FIN back: two wakes of a process, 2 ms in all on a
machine that has one to spare.
"""

CALLS, ROUNDS = 9, 4
"""Of each way to end; a round may fall into a moment in which the machine has something else to do."""

End = Callable[[World], Awaitable[tuple[Talk, float]]]


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """Turns end soon."""
    async with World({"VAD_SILENCE_MS": "200", "DRAIN_SECONDS": "0"}) as world:
        yield world


@dataclass(frozen=True)
class Ghosts:
    """How long the sockets and the line outlived the end of one call, ms: on record, and by the stand-ins' clocks."""

    sockets_ms: float
    sockets_seen_ms: float
    line_ms: float | None
    line_seen_ms: float | None
    """None: the telephone call was over before Kav knew, so that its line has no ghost."""


async def caller_hangs_up(world: World) -> tuple[Talk, float]:
    talk = await talking(world)
    since = time.monotonic()
    talk.call.send_raw(talk.call.stream.frames.stop().decode())
    return talk, since


async def status_ends_it(world: World) -> tuple[Talk, float]:
    """On a connection that is open already, so that the trigger is the moment when the request leaves."""
    talk = await talking(world)
    url, form = f"{world.kav.url}/twilio/status", about(talk.call.sid, "completed")
    body = urlencode(form)
    own = {"Host": urlsplit(url).netloc, "Content-Length": len(body), "Content-Type": FORM, "Connection": "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in {**signed_headers(AUTH_TOKEN, url, form), **own}.items())
    reader, writer = await asyncio.open_connection("127.0.0.1", world.kav.port)
    since = time.monotonic()
    writer.write(f"POST /twilio/status HTTP/1.1\r\n{head}\r\n{body}".encode())
    assert (await asyncio.wait_for(reader.read(), WAIT_S)).startswith(b"HTTP/1.1 204")
    writer.close()
    return talk, since


async def bot_says_goodbye(world: World) -> tuple[Talk, float]:
    """The end's trigger is the echo of the last mark: then the caller has heard the goodbye."""
    heard = await greeted(world, CallTool("end_call", {"language": "he"}))
    await heard.call.say(SPEECH)
    await heard.call.until_socket_closed()
    return Talk(world, heard.call, heard.session), heard.call.marks_echoed[-1][0]


async def ghosts(world: World, end: End) -> Ghosts:
    """End one call, and read both clocks."""
    talk, since = await end(world)
    await talk.closed(since)
    await talk.call.until_reported()
    by_kav = end is bot_says_goodbye
    fins = [peer.eof_at or 0.0 for peer in (talk.call.socket, talk.session.peer)]
    found = await record(world, talk.call.sid, lambda found: _is_whole(found, by_kav))
    line_seen_ms = (talk.call.statuses[-1].at - since) * 1000 if by_kav else None
    return Ghosts(found.call["socket_ghost_ms"], (max(fins) - since) * 1000, found.call["line_ghost_ms"], line_seen_ms)


def _is_whole(found: Record, by_kav: bool) -> bool:
    needed = ("socket_ghost_ms", "terminal_status", "end_reason", *(("line_ghost_ms",) if by_kav else ()))
    return all(found.call.get(name) is not None for name in needed)


def apart_ms(measured: list[Ghosts]) -> tuple[float, float]:
    """How far the clocks are apart, in the better quarter of some calls: for the sockets and for the line."""
    sockets = [abs(one.sockets_ms - one.sockets_seen_ms) for one in measured]
    line = [abs(one.line_ms - one.line_seen_ms) for one in measured if one.line_ms is not None and one.line_seen_ms]
    return quantiles(sockets)[0], quantiles(line)[0] if line else 0.0


@pytest.mark.parametrize("end", [caller_hangs_up, status_ends_it, bot_says_goodbye])
async def test_both_ghosts_on_record_agree_with_the_stand_ins_clocks(world: World, end: End) -> None:
    rounds: list[tuple[float, float]] = []
    while not rounds or (max(rounds[-1]) > CLOCKS_AGREE_MS and len(rounds) < ROUNDS):
        measured = [await ghosts(world, end) for _ in range(CALLS)]
        assert {one.line_ms is None for one in measured} == {end is not bot_says_goodbye}
        rounds.append(apart_ms(measured))
    assert max(rounds[-1]) <= CLOCKS_AGREE_MS, rounds

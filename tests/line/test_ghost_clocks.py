"""The ghost times on record are those that Twilio's and the model's own clocks show, whichever way a call ends."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

import pytest

from rehearsal.model import CallTool
from rehearsal.twilio.signing import signed_headers
from rehearsal.world import AUTH_TOKEN, World
from tests.line.asking import about
from tests.line.ending import WAIT_S, Talk, record, talking
from tests.line.listening import SPEECH
from tests.line.test_conversation import greeted

FORM = "application/x-www-form-urlencoded"

CLOCKS_AGREE_MS = 5.0
"""In the middle of some calls: one may meet a machine that stands still between the two clocks."""

CALLS = 9
"""Of each way to end."""


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """Turns end soon."""
    async with World({"VAD_SILENCE_MS": "200", "DRAIN_SECONDS": "0"}) as world:
        yield world


@dataclass(frozen=True)
class Ghosts:
    """How long the sockets and the line outlived the end of one call, ms: on record, and by the stand-ins' clocks."""

    recorded_ms: tuple[float, float]
    seen_ms: tuple[float, float]

    @property
    def apart_ms(self) -> tuple[float, float]:
        """How far the two are apart."""
        (sockets, line), (sockets_seen, line_seen) = self.recorded_ms, self.seen_ms
        return abs(sockets - sockets_seen), abs(line - line_seen)


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


async def ghosts(world: World, end: Callable[[World], Awaitable[tuple[Talk, float]]]) -> Ghosts:
    """End one call; the line's ghost is none where the telephone call was over before Kav knew."""
    talk, since = await end(world)
    await talk.closed(since)
    await talk.call.until_reported()
    fins = [peer.eof_at or 0.0 for peer in (talk.call.socket, talk.session.peer)]
    found = await record(world, talk.call.sid, lambda found: found.call.get("line_ghost_ms") is not None)
    line_s = talk.call.statuses[-1].at - since if end is bot_says_goodbye else 0.0
    return Ghosts(
        (found.call["socket_ghost_ms"], found.call["line_ghost_ms"]), ((max(fins) - since) * 1000, line_s * 1000)
    )


@pytest.mark.parametrize("end", [caller_hangs_up, status_ends_it, bot_says_goodbye])
async def test_both_ghosts_on_record_agree_with_the_stand_ins_clocks(
    world: World, end: Callable[[World], Awaitable[tuple[Talk, float]]]
) -> None:
    measured = [await ghosts(world, end) for _ in range(CALLS)]
    for apart in zip(*(each.apart_ms for each in measured), strict=True):
        assert sorted(apart)[len(apart) // 4] <= CLOCKS_AGREE_MS, measured  # a busy machine only adds

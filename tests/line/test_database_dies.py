"""The database is killed in mid-call and comes back: the call does not notice, and its record is whole."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from kav.records import reading
from rehearsal.model import CallTool
from rehearsal.servers.postgres import Postgres, binaries
from rehearsal.world import World
from tests.line.listening import SPEECH, Talk, noise
from tests.line.test_conversation import LOCKSMITH, Judging
from tests.line.test_measured_call import cost_micro_usd

pytestmark = pytest.mark.skipif(binaries() is None, reason="there is no PostgreSQL on this machine")

PROBLEM = CallTool("answer_step", {"step": "problem", "value": "הדלת נטרקה", "language": "he"})
CITY = CallTool("answer_step", {"step": "city", "value": "חיפה", "language": "he"})
LEAVES = CallTool("end_call", {"language": "he"})
AWAY_S, WAIT_S = 3.0, 30.0


@dataclass
class Place:
    """A Kav with a server of its own for its records."""

    world: World
    server: Postgres
    engine: Engine

    async def kill(self) -> None:
        """As in a crash."""
        await asyncio.to_thread(self.server.stop)

    async def restart(self) -> None:
        await asyncio.to_thread(self.server.start)

    async def call_on_record(self, call_sid: str) -> dict[str, Any]:
        """The call's record when it has its end and Twilio's status. Raises TimeoutError."""
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            found = await asyncio.to_thread(self._read, call_sid)
            if found is not None and found["end_reason"] and found["terminal_status"] and found["streams"]:
                return found
            await asyncio.sleep(0.1)
        raise TimeoutError(self.world.kav.log())

    def _read(self, call_sid: str) -> dict[str, Any] | None:
        try:
            with self.engine.connect() as connection:
                return reading.get_call(connection, call_sid)
        except SQLAlchemyError:
            return None


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    found = binaries()
    assert found is not None
    folder = Path(tempfile.mkdtemp(prefix="kav-pg-"))  # not pytest's own: its parents are closed to the server's user
    server = Postgres(folder, found)
    await asyncio.to_thread(server.start)
    settings = {"DATABASE_URL": server.url(), "VAD_SILENCE_MS": "200", "DRAIN_SECONDS": "0"}
    settings |= {"SILENCE_ASK_S": "60", "SILENCE_CLOSE_S": "90"}  # the caller says nothing until the server is back
    try:
        async with World(settings) as world:
            engine = create_engine(server.url(), poolclass=NullPool, connect_args={"connect_timeout": 2})
            yield Place(world, server, engine)
    finally:
        await asyncio.to_thread(server.stop)
        shutil.rmtree(folder, ignore_errors=True)


async def answers_two_steps_and_leaves(place: Place, before_the_end: bool) -> Talk:
    """A call whose database dies when the greeting was heard; it comes back before the call's end, or after it."""
    call = await place.world.call(Judging([PROBLEM, CITY, LEAVES]), to=LOCKSMITH)
    talk = Talk(call, await place.world.session_of(call))
    await call.until(lambda: talk.heard_ms_of(noise(1, 300)) == 300, WAIT_S)
    await place.kill()
    for voice in (2, 3):
        await call.say(SPEECH)
        await call.until(lambda voice=voice: talk.heard_ms_of(noise(voice, 300)) == 300, WAIT_S)  # type: ignore[misc]  # bound now
    if before_the_end:
        await asyncio.sleep(AWAY_S)
        await place.restart()
    await call.say(SPEECH)
    await call.until_reported(WAIT_S)
    if not before_the_end:
        await place.restart()
    return talk


@pytest.mark.parametrize("before_the_end", [True, False])
async def test_all_that_was_said_answered_used_and_how_it_ended_is_on_record(
    place: Place, before_the_end: bool
) -> None:
    talk = await answers_two_steps_and_leaves(place, before_the_end)
    found = await place.call_on_record(talk.call.sid)
    assert [(answer["step"], answer["value"]) for answer in found["answers"]] == [
        ("problem", "הדלת נטרקה"),
        ("city", "חיפה"),
    ]
    assert [turn["number"] for turn in found["turns"]] == list(range(1, 8)), "four of the bot's, three of the caller's"
    assert [turn["who"] for turn in found["turns"]] == ["bot", "caller"] * 3 + ["bot"]
    assert all(turn["heard"] == turn["text"] for turn in found["turns"] if turn["who"] == "bot")
    assert len(found["tool_calls"]) == 3
    assert (found["end_reason"], found["terminal_status"], len(found["streams"])) == ("goodbye", "completed", 1)
    assert found["cost_micro_usd"] == cost_micro_usd(talk.session)
    log = place.world.kav.log(1_000_000)
    assert "database_away" in log, "it was away"
    assert "record_not_saved" not in log, "and nothing was lost"

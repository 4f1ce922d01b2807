"""A peer, or the whole process, that stands still: the stream ends where it must, and never the process or the call."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rehearsal.audio import tone
from rehearsal.model import ObedientScript, Say, Tuning
from rehearsal.twilio import CallScript, Line
from rehearsal.world import World
from tests.line.ending import Talk, fin, talking

STOPPED_S = 10.0
TWELVE_MINUTES = Say("לילה ארוך מאוד", audio=bytes([0x55]) * 6_000_000)
"""More base64 than an outbox and both kernels' buffers hold together."""

SET_THE_FLAG = """
import signal

def forget_to_wake(*_):
    import stream_registry
    for entry in stream_registry.registry.values():
        entry["end_reason"] = entry["end_reason"] or "caller_hung_up"
        entry["ended"] = True

signal.signal(signal.SIGUSR1, forget_to_wake)
"""


@pytest.fixture(scope="module")
async def meddled(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A Kav in which SIGUSR1 sets every entry's flag and wakes nobody; Python runs `sitecustomize` at its start."""
    folder: Path = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(SET_THE_FLAG)
    quick = {"WRITE_STALL_S": "1", "MEDIA_SILENCE_S": "6", "MODEL_REPLY_TIMEOUT_S": "6", "DRAIN_SECONDS": "0"}
    quick |= {"MODEL_RECONNECTS": "0"}
    async with World({"PYTHONPATH": str(folder), **quick}) as world:
        yield world
        assert world.model.violations == []


async def test_a_flag_that_nobody_announces_is_noticed_all_the_same(meddled: World) -> None:
    talk = await talking(meddled)
    talk.call.freeze_media()
    talk.session.stall(reading=False)
    since = time.monotonic()
    meddled.kav.signal(signal.SIGUSR1)
    await fin(talk.call.socket, since)
    await fin(talk.session.peer, since, framed=False)
    assert (await talk.record()).reasons == ["caller_hung_up"]


async def test_a_caller_who_reads_nothing_ends_the_stream_and_not_the_process(meddled: World) -> None:
    bystander = await talking(meddled)
    meddled.model.tuning = Tuning(speed=100_000)
    slow = await talking(meddled, ObedientScript([TWELVE_MINUTES]), CallScript(line=Line(receive_buffer_bytes=4096)))
    meddled.model.tuning = Tuning()
    await slow.session.wait_for("response.done")
    slow.call.drop("slow_reader")
    since = time.monotonic()
    await slow.call.say(tone(400, 600, 0.5))
    await fin(slow.session.peer, since, within_s=8)
    await slow.call.until_socket_closed(8)  # by RST: frame and FIN would stand behind what nobody reads
    heard = bystander.call.heard_ms
    await bystander.call.until_heard(heard)
    assert not bystander.call.stream.over.is_set()
    assert bystander.finalisations() == 0
    await slow.call.until(lambda: slow.finalisations() == 1)
    await bystander.call.hang_up()
    await slow.call.hang_up()
    assert (await slow.record()).reasons[0] == "write_stalled"


async def test_a_model_that_reads_nothing_ends_the_call_with_an_apology(meddled: World) -> None:
    talk = await talking(meddled)
    await talk.session.wait_for("response.done")
    talk.session.stall(reading=False)
    since = time.monotonic()
    await fin(talk.call.socket, since, within_s=10)
    await fin(talk.session.peer, since, within_s=10, framed=False)
    await talk.call.until(lambda: len(talk.call.said) == 1)
    assert (await talk.record()).reasons == ["model_failed"]


async def test_a_process_that_stood_still_for_ten_seconds_ends_no_call(meddled: World) -> None:
    """All its clocks are late at once then, and that is nobody's silence."""
    talks = await asyncio.gather(*(talking(meddled, ObedientScript(["אני כאן."] * 9)) for _ in range(3)))
    for talk in talks:
        await talk.session.wait_for("response.done")
    talks[1].call.freeze_media()
    os.kill(meddled.kav.pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(STOPPED_S)  # the time itself is what is tested
    finally:
        os.kill(meddled.kav.pid, signal.SIGCONT)
    talks[1].call.resume()
    await asyncio.gather(*map(_talks_on, talks))


async def _talks_on(talk: Talk) -> None:
    heard = talk.call.heard_ms
    await talk.call.say(tone(400, 600, 0.5))
    await talk.session.wait_for("response.done", 2, timeout=10)
    await talk.call.until_heard(heard + 300)
    assert [talk.finalisations(), talk.call.said, len(talk.call.streams)] == [0, [], 1]
    await talk.call.hang_up()

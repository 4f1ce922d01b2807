"""The process itself: how it refuses to start, how it stops with live calls, and what its death looks like."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

import app
from kav.settings import Settings
from realtime_prompt_builder import load_phrases
from rehearsal.kav import ROOT
from rehearsal.twilio import CallScript
from rehearsal.world import World
from tests.line.ending import read, talking

BUSY = load_phrases().text("busy", "he")
REFUSED = 2


# SIGTERM


async def test_calls_that_finish_while_draining_end_their_own_way_and_new_ones_hear_busy() -> None:
    async with World({"DRAIN_SECONDS": "10"}) as world:
        talk = await talking(world)
        world.kav.signal(signal.SIGTERM)
        await talk.call.until_heard(talk.call.heard_ms + 300)
        late = await world.call()
        await late.until_reported()
        assert (late.verbs, late.said, world.sessions_of(late)) == (["Say", "Hangup"], [BUSY], [])
        await talk.call.hang_up()
        await talk.call.until_reported()
        assert [asked.status for asked in talk.call.statuses] == [204], "callbacks are answered all the time"
        assert await world.kav.ended(5) == 0
        found = read(world, talk.call.sid)
        assert found.call["terminal_status"] == "completed"
        assert found.call["end_reason"] in ("caller_hung_up", "call_status_completed")


async def test_an_idle_process_stops_at_once() -> None:
    async with World({"DRAIN_SECONDS": "30"}) as world:
        since = time.monotonic()
        world.kav.signal(signal.SIGTERM)
        assert await world.kav.ended(5) == 0
        assert time.monotonic() - since < 3


async def test_a_caller_who_asks_nothing_does_not_hold_the_end_up() -> None:
    async with World({"DRAIN_SECONDS": "0"}) as world:
        talk = await talking(world, line=CallScript(asks_after_stream=False))
        world.kav.signal(signal.SIGTERM)
        assert await world.kav.ended(8) == 0
        assert read(world, talk.call.sid).call["end_reason"] == "shutdown"


# SIGKILL


async def test_a_killed_process_lets_both_peers_see_their_connections_go() -> None:
    async with World() as world:
        talk = await talking(world)
        since = time.monotonic()
        world.kav.signal(signal.SIGKILL)
        await world.kav.ended(5)
        for peer in (talk.call.socket, talk.session.peer):
            async with asyncio.timeout(3):
                await peer.gone()
            gone_at = peer.eof_at or peer.reset_at
            assert gone_at is not None
            assert gone_at - since < 3
            assert peer.close_frame_at is None


# Refusing to start


def run(folder: Path, settings: Mapping[str, str], *command: str) -> "subprocess.CompletedProcess[str]":
    """Run Kav with these settings and no others; every refusal comes within seconds."""
    environment = {"PATH": os.environ["PATH"], "PORT": "0", "DATABASE_URL": f"sqlite:///{folder}/kav.db", **settings}
    return subprocess.run(
        [sys.executable, *(command or (str(ROOT / "app.py"),))],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_without_a_key_it_ends_with_one_sentence_that_names_it(tmp_path: Path) -> None:
    ended = run(tmp_path, {})
    assert ended.returncode == REFUSED
    assert "OPENAI_API_KEY is not set" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""


@pytest.mark.parametrize(
    ("setting", "value", "named"),
    [
        ("TWILIO_AUTH_TOKEN", "secret", "TWILIO_AUTH_TOKEN is set"),
        ("DYNO", "web.1", "DYNO is set"),
        ("PUBLIC_BASE_URL", "https://kav.example.com", "PUBLIC_BASE_URL is https://kav.example.com"),
        ("HOST", "0.0.0.0", "HOST is 0.0.0.0"),
    ],
)
def test_a_rehearsal_that_strangers_could_reach_is_refused(
    tmp_path: Path, setting: str, value: str, named: str
) -> None:
    ended = run(tmp_path, {"KAV_REHEARSAL": "1", setting: value})
    assert ended.returncode == REFUSED
    assert f"KAV_REHEARSAL is for one laptop, but {named}" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "secret" not in ended.stderr.replace("SECRET", "")


def test_a_setting_that_cannot_be_right_is_named(tmp_path: Path) -> None:
    ended = run(tmp_path, {"OPENAI_API_KEY": "sk", "MAX_CALL_S": "soon", "PORT": "99999"})
    assert ended.returncode == REFUSED
    assert "MAX_CALL_S" in ended.stderr
    assert "PORT" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_serving_without_patches_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"start Kav with `python app\.py`"):
        app.serve(Settings(_env_file=None, OPENAI_API_KEY="sk"))  # type: ignore[call-arg, arg-type]  # pydantic's own


def test_importing_the_front_door_patches_nothing(tmp_path: Path) -> None:
    look = "import app, gevent.monkey; print(gevent.monkey.is_module_patched('socket'))"
    ended = run(tmp_path, {"PYTHONPATH": str(ROOT)}, "-c", look)
    assert (ended.stdout.strip(), ended.stderr) == ("False", "")

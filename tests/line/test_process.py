"""The process itself: how it refuses to start, how it stops with live calls, and what its death looks like."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import ValidationError

import app
from kav.settings import Settings
from realtime_prompt_builder import load_phrases
from rehearsal.kav import ROOT
from rehearsal.twilio import CallScript
from rehearsal.world import World
from tests.line.ending import read, talking

BUSY = load_phrases().text("busy", "he")
REFUSED = 2
ADDRESS = {"PUBLIC_BASE_URL": "https://kav.example.com"}


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
        assert await world.kav.ended(15) == 0
        assert time.monotonic() - since < 10


async def test_a_caller_who_asks_nothing_does_not_hold_the_end_up() -> None:
    async with World({"DRAIN_SECONDS": "0"}) as world:
        talk = await talking(world, line=CallScript(asks_after_stream=False))
        world.kav.signal(signal.SIGTERM)
        assert await world.kav.ended(15) == 0
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


SECRET = "hunter2"
COMMANDS = [(), ("doctor",), ("erase", "+972501234567"), ("--help",)]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: " ".join(words) or "serve")
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"SMTP_URL": f"smtps://u:{SECRET}/x@mail.example:465"}, ["SMTP_URL: its host or port is none; "]),
        (
            {"TWILIO_SHARED_KEY": SECRET, "DATABASE_URL": f"postgres://u:{SECRET}@h/d"},
            ["TWILIO_SHARED_KEY_ID and TWILIO_SHARED_KEY go together: "],
        ),
        ({"PORT": "99999", "LOG_LEVEL": "loud"}, ["PORT: Input should be less ", "LOG_LEVEL: 'loud' is no level: "]),
        ({"DATABASE_URL": f"mysql://u:{SECRET}@h/d"}, ["DATABASE_URL: Kav keeps records in SQLite or PostgreSQL, "]),
    ],
    ids=["url", "several", "two faults", "database"],
)
def test_what_is_set_wrongly_is_a_line_each_and_no_secret_however_kav_is_run(
    tmp_path: Path, command: tuple[str, ...], settings: dict[str, str], said: list[str]
) -> None:
    flask = ("-m", "flask", "--app", str(ROOT / "app.py"), *command) if command else ()
    ended = run(tmp_path, {"OPENAI_API_KEY": "sk", **settings}, *flask)
    lines = [line for line in ended.stderr.splitlines() if " WARNING kav - " not in line]  # of tools without secrets
    assert (ended.returncode, len(lines)) == (REFUSED, len(said)), ended.stderr
    for line, beginning in zip(lines, said, strict=True):
        assert line.startswith(beginning)
    assert SECRET not in ended.stdout + ended.stderr


def test_a_port_that_is_taken_is_said_with_its_remedy(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run(tmp_path, {"OPENAI_API_KEY": "sk", "PORT": str(port)})
    said = f"Kav cannot listen on 127.0.0.1:{port}: Address already in use. Set PORT or HOST."
    assert (ended.returncode, said in ended.stderr.splitlines()) == (REFUSED, True), ended.stderr


def test_a_host_that_is_none_is_said_with_its_remedy(tmp_path: Path) -> None:
    ended = run(tmp_path, {"OPENAI_API_KEY": "sk", "TWILIO_AUTH_TOKEN": "t", "HOST": "300.1.1.1", **ADDRESS})
    assert ended.returncode == REFUSED
    assert re.search(r"^Kav cannot listen on 300\.1\.1\.1:0: [A-Z].+\. Set PORT or HOST\.$", ended.stderr, re.MULTILINE)
    assert "Unknown error" not in ended.stderr


def test_what_fails_besides_listening_is_not_blamed_on_the_port(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def serve(_: Settings) -> None:
        raise PermissionError(13, "Permission denied", "phrases/he.yaml")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk")
    monkeypatch.setattr(app, "serve", serve)
    with pytest.raises(PermissionError, match=r"he\.yaml"):
        app.main()


def test_who_builds_the_application_elsewhere_gets_the_error_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOG_LEVEL", "loud")
    with pytest.raises(ValidationError, match="LOG_LEVEL"):
        app.create_app()


def test_serving_without_patches_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"start Kav with `python app\.py`"):
        app.serve(Settings(_env_file=None, OPENAI_API_KEY="sk"))  # type: ignore[call-arg, arg-type]  # pydantic's own


def test_importing_the_front_door_patches_nothing(tmp_path: Path) -> None:
    look = "import app, gevent.monkey; print(gevent.monkey.is_module_patched('socket'))"
    ended = run(tmp_path, {"PYTHONPATH": str(ROOT)}, "-c", look)
    assert (ended.stdout.strip(), ended.stderr) == ("False", "")

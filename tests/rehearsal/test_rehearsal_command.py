"""Guards what a person sees: `python -m rehearsal` with its verdicts and recordings, and `make run` without a key."""

import asyncio
import os
import re
import signal
import socket
import sys
import wave
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rehearsal.kav import ROOT, KavProcess
from rehearsal.ports import free_port
from rehearsal.scenario import ScenarioError, load
from rehearsal.start import chosen_port, has_key

WITHIN_S = 45.0
SHORT = """
title: Hello and goodbye
steps:
  - says: רגע אחד בבקשה
    while_bot_says: any
    after_ms: 500
    replies:
      - say: אני מקשיבה.
  - hangs_up: true
expect:
  heard:
    - cut_off: שלום…
      silent_within_ms: 3000
    - whole: אני מקשיבה.
  closed_within_s: 4
"""
WRONG = """
title: Nothing is as it says
services:
  - asked: /never
    answers: anything
steps:
  - hangs_up: true
    while_bot_says: any
    after_ms: 300
expect:
  heard:
    - whole: שלום…
    - whole: And something more
  announced: [Goodbye]
  dialled: ["+97231110009"]
  closed_within_s: 0.000001
  end_reason: goodbye
  answers: {name: דנה, when: {unanswered: refused}}
  breaches: ["wrong language: he"]
  languages: [he, en]
  statuses: [busy]
  streams: 2
  model_sessions: 0
"""


class Command:
    """A command that runs; what it prints is kept."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.printed = ""

    async def until_printed(self, text: str) -> None:
        """Read on until it has printed this. Raises AssertionError when it ends without."""
        assert self.process.stdout is not None
        while text not in self.printed:
            piece = await self.process.stdout.read(4096)
            assert piece, f"it ended without printing {text!r}:\n{self.printed}"
            self.printed += piece.decode()

    async def until_ended(self) -> int:
        """Read to the end; returns the exit status."""
        assert self.process.stdout is not None
        self.printed += (await self.process.stdout.read()).decode()
        return await self.process.wait()


@asynccontextmanager
async def running(
    module: str, *arguments: str | Path, cwd: Path, within_s: float = WITHIN_S, **environment: str
) -> AsyncIterator[Command]:
    """`python -m module` as a newcomer runs it, standard error among the rest; ended whatever happens."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *map(str, arguments)),
        cwd=cwd,
        env={**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(within_s):
            yield Command(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def loud_ms(samples: "array[int]", rate: int) -> int:
    """How many 20 ms frames, in ms, have sound in them."""
    frame = rate // 50
    return sum(20 for at in range(0, len(samples), frame) if max(map(abs, samples[at : at + frame])) > 500)


async def test_a_rehearsal_prints_the_conversation_its_verdicts_and_a_recording_of_both_sides(tmp_path: Path) -> None:
    async with running("rehearsal", written(tmp_path / "short.yaml", SHORT), cwd=tmp_path) as command:
        assert await command.until_ended() == 0, command.printed
    assert "Hello and goodbye" in command.printed
    assert re.search(r"\d\.\d\d  caller  רגע אחד בבקשה", command.printed)
    assert re.search(r"\d\.\d\d  Kav     אני מקשיבה\.", command.printed)
    assert "~ Kav falls silent" in command.printed
    assert "every verdict holds" in command.printed
    with wave.open(str(tmp_path / "recordings" / "short.wav")) as recording:
        rate, both = recording.getframerate(), array("h", recording.readframes(recording.getnframes()))
    assert loud_ms(both[0::2], rate) > 500, "the caller is on the left"
    assert loud_ms(both[1::2], rate) > 900, "what they hear is on the right"
    assert loud_ms(both[0 : rate // 2 : 2], rate) == 0, "nobody speaks in the call's first quarter of a second"


async def test_every_expectation_can_fail_and_says_what_was_seen(tmp_path: Path) -> None:
    async with running("rehearsal", written(tmp_path / "wrong.yaml", WRONG), cwd=tmp_path) as command:
        assert await command.until_ended() == 1, command.printed
    failed = re.findall(r"!!  expected: (.*)\n      seen:     (.*)", command.printed)
    expected = "\n".join(what for what, _seen in failed)
    for words in (
        "«שלום…» whole",
        "«And something more» whole",
        "Twilio says «Goodbye»",
        "Twilio dials «+97231110009»",
        "closed within",
        "why it ended: goodbye",
        "on record of the script: name «דנה»; when (refused)",
        "on record against the model: wrong language: he",
        "the bot spoke he, en",
        "Twilio reports «busy»",
        "2 media streams",
        "0 model sessions",
        "the tool asks /never",
        "the model learns what it answers",
    ):
        assert words in expected
    assert all(seen.strip() for _what, seen in failed)
    assert "1 of 1 calls did not go as they must: Nothing is as it says" in command.printed


async def test_calls_go_at_once_against_a_kav_that_runs_already(tmp_path: Path) -> None:
    model_port = free_port()
    model_url = f"ws://127.0.0.1:{model_port}/v1/realtime"
    files = [written(tmp_path / f"{name}.yaml", SHORT) for name in ("one", "two")]
    async with KavProcess({"KAV_REHEARSAL": "1", "OPENAI_REALTIME_URL": model_url}) as kav:
        options = ("--kav", kav.url, "--model-port", model_port, "--parallel", 2, "--wav", tmp_path / "kept")
        async with running("rehearsal", *map(str, options), *files, cwd=tmp_path) as command:
            assert await command.until_ended() == 0, command.printed
    assert f"OPENAI_REALTIME_URL={model_url}" in command.printed
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["one.wav", "two.wav"]


async def test_a_kav_that_is_not_there_is_named(tmp_path: Path) -> None:
    url, model_port = f"http://127.0.0.1:{free_port()}", str(free_port())
    async with running("rehearsal", "--kav", url, "--model-port", model_port, cwd=tmp_path) as command:
        assert await command.until_ended() == 2
    assert f"no Kav listens at {url}" in command.printed


async def test_a_call_that_fails_among_others_is_played_once_more_without_them(tmp_path: Path) -> None:
    files = written(tmp_path / "short.yaml", SHORT), written(tmp_path / "wrong.yaml", WRONG)
    async with running("rehearsal", "--parallel", "2", *files, cwd=tmp_path) as command:
        assert await command.until_ended() == 1, command.printed
    assert "2 calls, 2 at the same time" in command.printed
    assert "1 call did not go as they must; once more, without the others:" in command.printed
    assert command.printed.count("── Nothing is as it says") == 2
    assert command.printed.count("── Hello and goodbye") == 1
    assert "1 of 2 calls did not go as they must: Nothing is as it says" in command.printed


async def test_the_hand_tests_are_played_alone_in_their_order_with_a_recording_of_each(tmp_path: Path) -> None:
    tests = (("b", "hand_test: 1"), ("a", "hand_test: 2"), ("c", ""))
    files = [written(tmp_path / f"{name}.yaml", f"{mark}{SHORT}") for name, mark in tests]
    async with running("rehearsal", "--hand-tests", *files, cwd=tmp_path) as command:
        assert await command.until_ended() == 0, command.printed
    assert re.findall(r"── (Hand test \d): Hello", command.printed) == ["Hand test 1", "Hand test 2"]
    assert re.findall(r"listen  (\S+)", command.printed) == ["recordings/b.wav", "recordings/a.wav"]
    assert "2 calls, every verdict holds" in command.printed


async def test_there_must_be_a_hand_test_to_play(tmp_path: Path) -> None:
    file = written(tmp_path / "short.yaml", SHORT)
    async with running("rehearsal", "--hand-tests", file, cwd=tmp_path) as command:
        assert await command.until_ended() == 2
    assert "None of these is a hand test" in command.printed


async def test_the_list_names_each_scenario(tmp_path: Path) -> None:
    async with running("rehearsal", "--list", cwd=tmp_path) as command:
        assert await command.until_ended() == 0
    assert "talk_over.yaml" in command.printed
    assert "The caller talks over the bot" in command.printed


async def test_a_faulty_scenario_is_not_played_and_each_mistake_has_its_line(tmp_path: Path) -> None:
    file = written(tmp_path / "faulty.yaml", "title: x\nsteps:\n  - sais: hello\n  - hangs_up: true\n    presses: 5\n")
    async with running("rehearsal", file, cwd=tmp_path) as command:
        assert await command.until_ended() == 2
    assert f"{file}:3: steps[1].sais: there is no such field; did you mean `says`?" in command.printed
    assert f"{file}:5: steps[2].presses: " in command.printed


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("title: x\nsteps: []\n", "1: the scenario: nobody does anything"),
        ("steps:\n  - hangs_up: true\n", "1: title: is missing; add it"),
        ("title: x\ntitle: y\n", "2: title: given twice"),
        ("title: x\nsteps:\n  - hangs_up: true\n    presses: '5'\n", "3: steps[1]: a step does one thing"),
        ("title: x\nsteps:\n  - {}\n", "3: steps[1]: a step does one thing, this one does nothing"),
        ("title: x\nsteps:\n  - says: no\n", "3: steps[1].says: input should be a valid string, not False (YAML reads"),
        (
            "title: x\nsteps:\n  - says: a\n    after_s: 1\n    while_bot_says: b\n",
            "3: steps[1]: a step has one moment",
        ),
        ("title: x\nsteps:\n  - says: a\n    after_ms: 5\n", "3: steps[1]: `after_ms` belongs to `while_bot_says`"),
        ("title: x\nsteps:\n  - presses: '1'\n    pointed: a\n", "3: steps[1]: `pointed`, `language` and `judge`"),
        ("title: x\nsteps:\n  - presses: '1'\n    judge: none\n", "3: steps[1]: `pointed`, `language` and `judge`"),
        ("title: x\nsteps:\n  - hangs_up: true\n    replies: [{say: a}]\n", "3: steps[1]: `replies` belong to `says`"),
        (
            "title: x\nsteps:\n  - says: a\n    judge:\n      tool: answer\n",
            "5: steps[1].judge[1].tool: input should be",
        ),
        (
            "title: x\nsteps:\n  - says: a\n    judge:\n      - tool: unclear\n        reasn: refused\n",
            "6: steps[1].judge[1].reasn: there is no such field; did you mean `reason`?",
        ),
        (
            "title: x\nsteps:\n  - says: a\n    judge: {tool: unclear, arguments: '{', step: b}\n",
            "4: steps[1].judge: `arguments` go out as they are",
        ),
        (
            "title: x\nsteps:\n  - says: a\n    replies:\n      - say: b\n        tool: c\n",
            "5: steps[1].replies[1]: a reply",
        ),
        ("title: x\nsteps:\n  - line: cut\n", "3: steps[1].line: input should be 'no_stop', 'fin'"),
        (
            "title: x\nsteps:\n  - hangs_up: true\nexpect:\n  heard:\n    - whole: a\n      cut_off: b\n",
            "6: expect.heard[1]",
        ),
        ("title: [\n", "2: no YAML"),
        ("- a\n", "1: a scenario is a mapping"),
    ],
)
def test_a_mistake_in_a_scenario_is_told_with_its_place(tmp_path: Path, text: str, mistake: str) -> None:
    file = written(tmp_path / "faulty.yaml", text)
    with pytest.raises(ScenarioError) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file}:{mistake}")


async def test_without_a_key_a_call_is_shown_kav_stays_up_and_a_signal_ends_all_cleanly(tmp_path: Path) -> None:
    port = free_port()
    async with running("rehearsal.start", cwd=tmp_path, PORT=str(port)) as command:
        await command.until_printed("Ctrl-C")
        assert "!!" not in command.printed
        assert "(hangs up)" in command.printed
        assert f"http://127.0.0.1:{port}" in command.printed
        assert await is_served(port)
        command.process.send_signal(signal.SIGTERM)
        assert await command.until_ended() == 0
    assert "Traceback" not in command.printed
    assert not await is_served(port)


async def test_a_rehearsal_that_is_stopped_in_mid_call_ends_cleanly(tmp_path: Path) -> None:
    port = free_port()
    async with running("rehearsal.start", cwd=tmp_path, PORT=str(port)) as command:
        await command.until_printed("Kav     ")
        command.process.send_signal(signal.SIGINT)
        assert await command.until_ended() == 0
    assert "Traceback" not in command.printed
    assert not await is_served(port)


async def test_kav_ends_also_when_its_rehearsal_is_killed(tmp_path: Path) -> None:
    port = free_port()
    async with running("rehearsal.start", cwd=tmp_path, PORT=str(port)) as command:
        await command.until_printed("Kav     ")
        command.process.kill()
        await command.process.wait()
        async with asyncio.timeout(10):
            while await is_served(port):
                await asyncio.sleep(0.05)


async def test_with_a_key_kav_itself_is_started(tmp_path: Path) -> None:
    port = free_port()
    written(tmp_path / ".env", f"OPENAI_API_KEY=sk-nobody\nPORT={port}\nDATABASE_URL=sqlite:///{tmp_path}/kav.db\n")
    async with running("rehearsal.start", cwd=tmp_path) as command:
        await command.until_printed(f"Kav listens on 127.0.0.1:{port}")
        command.process.terminate()
        assert await command.until_ended() == 0
    assert "rehearsal" not in command.printed.lower().split("kav listens")[0]


def test_the_environment_speaks_before_the_file(tmp_path: Path) -> None:
    file = written(tmp_path / ".env", "OPENAI_API_KEY=sk-file\n")
    assert has_key({}, file)
    assert not has_key({"OPENAI_API_KEY": ""}, file)
    assert has_key({"OPENAI_API_KEY": "sk-environment"}, tmp_path / "nowhere")
    assert not has_key({}, tmp_path / "nowhere")


def test_a_port_that_is_taken_is_named_and_a_free_one_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = chosen_port(str(port))
    assert found != port
    assert f"Port {port} cannot be had (Address already in use); Kav takes {found}." in capsys.readouterr().out
    assert chosen_port(str(found)) == found
    with pytest.raises(ValueError, match="PORT is 'high'"):
        chosen_port("high")


async def is_served(port: int) -> bool:
    """Whether somebody listens."""
    try:
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True

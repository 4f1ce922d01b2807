"""Guards what Heroku does to every process and must not matter to this one."""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rehearsal.kav import ROOT, KavProcess
from rehearsal.ports import free_port
from rehearsal.twilio import ACCOUNT_SID
from rehearsal.world import AUTH_TOKEN, OPENAI_KEY, World
from tests.line.ending import talking


async def test_web_concurrency_means_nothing() -> None:
    """The Python buildpack may set it: Kav is one process all the same, with every call in its one registry."""
    async with World({"WEB_CONCURRENCY": "2", "DRAIN_SECONDS": "0"}) as world:
        talks = await asyncio.gather(*(talking(world) for _ in range(4)))
        assert (await world.kav.health())["entries"] == 4
        await asyncio.gather(*(talk.call.hang_up() for talk in talks))


@pytest.fixture(scope="module")
def slug(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What of Kav comes to a dyno: all but what `.slugignore` names."""
    left_out = {line.strip("/") for line in (ROOT / ".slugignore").read_text().split()}
    folder = tmp_path_factory.mktemp("slug")
    for path in ROOT.iterdir():
        if path.name in left_out or path.name.startswith((".", "_")):
            continue
        if path.is_dir():
            shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, folder)
    assert not (folder / "docs").exists()
    return folder


def on_heroku(port: int) -> dict[str, str]:
    return {
        "DYNO": "web.1",
        "PUBLIC_BASE_URL": f"http://127.0.0.1:{port}",
        "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
        "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
        "OPENAI_API_KEY": OPENAI_KEY,
        "KAV_DEFAULT_NUMBERS": "*",
        "KAV_CONSOLE_PASSWORD": "a-long-enough-password",
    }


async def test_what_comes_to_a_dyno_serves(slug: Path) -> None:
    port = free_port()
    async with KavProcess(on_heroku(port), port=port, root=slug) as kav:
        assert (await kav.health())["calls"] == 0
        assert (await kav.ask("GET", "/calls"))[0] == 200


def test_what_comes_to_a_dyno_can_be_asked_how_it_is(slug: Path, tmp_path: Path) -> None:
    environment = {**on_heroku(5000), "DATABASE_URL": f"sqlite:///{tmp_path / 'kav.db'}", "PATH": ""}
    asked = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "app", "check-flows"],
        cwd=slug,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (asked.returncode, asked.stderr) == (0, "")

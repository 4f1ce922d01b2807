"""`make run`: with a key Kav itself; without one a rehearsal that anybody can watch, with Kav staying up after it."""

import asyncio
import os
import secrets
import signal
import socket
import sys
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

ROOT = Path(__file__).parent.parent
DEFAULT_PORT = 8080
HEEDED = ("PORT", "KAV_CONSOLE_PASSWORD")
"""All else in the environment and in .env is for real calls: a rehearsal looks the same everywhere."""
_WELCOME = """\
There is no OPENAI_API_KEY, so this is a rehearsal: stand-ins play the telephone network and the model, with real
speech over real sockets. Kav between them is the real one. Nothing leaves this machine, nothing is billed.
Of the environment and .env it heeds PORT and KAV_CONSOLE_PASSWORD; the other settings are for real calls.
"""
_STAYS = """\
Kav stays up at {url} for this machine only (KAV_REHEARSAL); its records go when it goes.

  the console  {url}/console/, its password this time is {password}
               under Phone you are the caller yourself: type, and the model's stand-in answers
  more calls   make rehearse        every scenario, one after another
  real calls   put OPENAI_API_KEY, TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN, PUBLIC_BASE_URL, KAV_DEFAULT_NUMBERS into .env
               (see .env.example), then `make run` again; the README shows the rest
  stop         Ctrl-C
"""


def main() -> int:
    """Become Kav if there is a key; else rehearse until somebody stops it. Returns the exit status."""
    if has_key(os.environ, Path(".env")):
        os.execv(sys.executable, [sys.executable, str(ROOT / "app.py")])
    from rehearsal.kav import KavDied  # what a rehearsal needs is not installed where real calls are served

    try:
        told = told_for_rehearsals(os.environ, Path(".env"))
        return asyncio.run(_until_stopped(_rehearse(chosen_port(told["PORT"]), told["KAV_CONSOLE_PASSWORD"])))
    except (KavDied, OSError, ValueError) as error:
        print(f"Kav did not come up: {error}", file=sys.stderr)
        return 1


def has_key(environment: Mapping[str, str], env_file: Path) -> bool:
    """Whether real calls can be served: the environment counts first, as it does for Kav's settings."""
    name = "OPENAI_API_KEY"
    return bool(environment.get(name, dotenv_values(env_file).get(name) or ""))


def told_for_rehearsals(environment: Mapping[str, str], env_file: Path) -> dict[str, str]:
    """What of the settings a rehearsal heeds, as `has_key` reads them; empty where nothing is said."""
    written = dotenv_values(env_file)
    return {name: environment.get(name) or written.get(name) or "" for name in HEEDED}


def chosen_port(wanted: str) -> int:
    """The port to listen on: the wanted one, or a free one if somebody listens there. Raises ValueError."""
    if wanted and not (wanted.isdecimal() and int(wanted) <= 65535):
        raise ValueError(f"PORT is {wanted!r}: say a number from 0 to 65535")
    port = int(wanted or DEFAULT_PORT)
    try:
        return _bound(port)
    except OSError as error:
        free = _bound(0)
        why = os.strerror(error.errno or 0)  # the error's own text names the address again
        print(f"Port {port} cannot be had ({why}); Kav takes {free}. Say PORT=... for another.\n")
        return free


def _bound(port: int) -> int:
    with socket.create_server(("127.0.0.1", port)) as server:
        number: int = server.getsockname()[1]
        return number


async def _until_stopped(work: Coroutine[Any, Any, int]) -> int:
    """Run it until it ends or a signal ends it, which is no failure."""
    task = asyncio.get_running_loop().create_task(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        print("\nStopped.")
        return 0


async def _rehearse(port: int, password: str) -> int:
    """One call to watch, then stay up. Returns the exit status if Kav ends by itself."""
    from rehearsal.__main__ import KAV_SETTINGS, RECORDINGS, rehearse
    from rehearsal.printer import to_terminal
    from rehearsal.prompter import Voices
    from rehearsal.scenario import FOLDER, load
    from rehearsal.typist import PERSON, Typist
    from rehearsal.world import World

    print(_WELCOME, flush=True)
    scenario = load(FOLDER / "first_call.yaml")
    voices = Voices([scenario])
    await asyncio.to_thread(voices.warm_up)
    password = password or secrets.token_urlsafe(9)
    settings = {**KAV_SETTINGS, "KAV_CONSOLE_PASSWORD": password}
    async with World(settings, speak=voices.speak, signed=False, port=port) as world:
        await rehearse(world, scenario, voices, to_terminal(dict(os.environ)), RECORDINGS / "first_call.wav")
        world.expect(PERSON, Typist())
        print(_STAYS.format(url=world.kav.url, password=password), flush=True)
        status = await world.kav.process.wait()
        print(f"Kav ended by itself with {status}:\n{world.kav.log()}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

"""A PostgreSQL server of one's own for the tests: temporary folder, loopback, killed and restarted at will."""

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from rehearsal.ports import free_port

DEBIAN = Path("/usr/lib/postgresql")
READY_S = 30


def binaries() -> Path | None:
    """The folder of the newest installed server, or None."""
    found = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def as_server_user(command: list[str]) -> list[str]:
    """The command as a user that PostgreSQL accepts: it refuses root."""
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else command


class Postgres:
    """One server on a free loopback port, in `folder`."""

    def __init__(self, folder: Path, bin_folder: Path) -> None:
        self._folder, self._bin = folder, bin_folder
        self._data = folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self._prepare()

    def url(self, database: str = "postgres") -> str:
        """Its address, for SQLAlchemy."""
        return f"postgresql+psycopg://postgres@localhost:{self.port}/{database}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [str(self._bin / "postgres"), "-D", str(self._data), "-p", str(self.port), "-h", "127.0.0.1"]
        options = ["-k", str(self._folder), "-c", "fsync=off"]
        with (self._folder / "server.log").open("ab") as output:
            user = (
                "postgres" if os.geteuid() == 0 else None
            )  # itself, and not a child of `runuser`, that would stop with it
            self._process = subprocess.Popen(
                command + options, stdout=output, stderr=output, user=user, group=user, extra_groups=user and []
            )
        deadline = time.monotonic() + READY_S
        ready = [str(self._bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode:
            assert time.monotonic() < deadline, (self._folder / "server.log").read_text()
            assert self._process.poll() is None, (self._folder / "server.log").read_text()
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server's processes, all of them: the first one first, so that it begins no others."""
        assert self._process is not None, "it does not run"
        for pid in (self._process.pid, *_children_of(self._process.pid)):
            with suppress(ProcessLookupError):  # a connection's process ends with the connection
                os.kill(pid, number)

    def stop(self) -> None:
        """At once, as in a crash: connections are cut, nothing is waited for."""
        if self._process is None:
            return
        stop = [str(self._bin / "pg_ctl"), "-D", str(self._data), "-m", "immediate", "-w", "stop"]
        subprocess.run(as_server_user(stop), check=False, capture_output=True, timeout=READY_S)
        self._process.wait(timeout=READY_S)
        self._process = None

    def _prepare(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self._folder, "postgres")
        initdb = [str(self._bin / "initdb"), "-D", str(self._data), "-A", "trust", "-U", "postgres", "-N", "-E", "UTF8"]
        subprocess.run(as_server_user([*initdb, "--locale=C"]), check=True, capture_output=True, timeout=60)


def _children_of(pid: int) -> list[int]:
    """The processes whose parent is `pid`."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            if parent == pid:
                found.append(int(stat.parent.name))
    return found

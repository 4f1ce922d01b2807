"""The real Kav, as its operator starts it, alone on one core of this machine, and what the kernel says of it."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.webhook import AUTH_TOKEN
from rehearsal.ports import free_port

ROOT = Path(__file__).parent.parent
BOOT_S = 30.0
STOP_S = 10.0
CONSOLE_PASSWORD = "the bench watches"
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class KavFailed(Exception):
    """Kav did not start, or did not live; the message holds the end of its log."""


_usable = sorted(os.sched_getaffinity(0))
CORES = (_usable[0], _usable[-1])
"""(Kav's core, the bench's core): the same one twice on a machine that has only one."""


class KavProcess:
    """Kav, from its start to its end; a context manager."""

    def __init__(self, model_port: int, ca_file: Path | None = None, settings: Mapping[str, str] | None = None) -> None:
        self.core, own_core = CORES
        self._folder = Path(tempfile.mkdtemp(prefix="kav-bench-"))
        self.port = free_port()
        scheme = "wss" if ca_file else "ws"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "PUBLIC_BASE_URL": f"http://127.0.0.1:{self.port}",
            "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
            "TWILIO_API_BASE_URL": "http://127.0.0.1:9",
            "OPENAI_API_KEY": "bench",
            "OPENAI_REALTIME_URL": f"{scheme}://127.0.0.1:{model_port}/v1/realtime",
            "DATABASE_URL": f"sqlite:///{self._folder}/kav.db",
            "KAV_DEFAULT_NUMBERS": "*",
            "MAX_CALLS": "5000",
            "KAV_CONSOLE_PASSWORD": CONSOLE_PASSWORD,
            "DRAIN_SECONDS": "0",
            "CALLS_PER_CALLER_PER_HOUR": "0",  # the same few callers call again and again
            "HUB_LAG_SHED_MS": "0",  # what an overload does is what is measured
            **(settings or {}),
        }
        if ca_file:
            environment["SSL_CERT_FILE"] = str(ca_file)
        allow_many_descriptors()
        os.sched_setaffinity(0, {self.core})  # inherited by every thread of the child
        try:
            with (self._folder / "log").open("wb") as log:
                self._process = subprocess.Popen(
                    [*_wrapper(), sys.executable, str(ROOT / "app.py")], cwd=self._folder, env=environment, stderr=log
                )
        finally:
            os.sched_setaffinity(0, {own_core})

    def __enter__(self) -> Self:
        end = time.monotonic() + BOOT_S
        while time.monotonic() < end and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=2):
                    return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        message = f"Kav did not answer within {BOOT_S:.0f} s. The end of its log:\n{self.log_tail()}"
        self.__exit__(None, None, None)
        raise KavFailed(message)

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def alive(self) -> bool:
        return self._process.poll() is None

    def log_tail(self, lines: int = 15) -> str:
        return "\n".join((self._folder / "log").read_text(errors="replace").splitlines()[-lines:])

    def cpu_s(self) -> float:
        """CPU seconds of all of Kav's threads so far."""
        tasks = Path(f"/proc/{self._process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def core_busy_s(self) -> float:
        """Seconds for which Kav's core was busy so far, whoever used it (also the hypervisor)."""
        fields = next(
            line.split() for line in Path("/proc/stat").read_text().splitlines() if line.startswith(f"cpu{self.core} ")
        )
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[1:9])
        return (user + nice + system + irq + softirq + steal) * TICK_S

    def rss_bytes(self) -> int:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024


def _wrapper() -> list[str]:
    """A profiler to start Kav under, e.g. KAV_BENCH_WRAPPER="py-spy record -o out.svg --"."""
    return os.environ.get("KAV_BENCH_WRAPPER", "").split()


def allow_many_descriptors() -> None:
    """Raise this process's own limit; children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

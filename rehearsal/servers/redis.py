"""A Redis server of one's own for the tests: in memory, loopback, killed and restarted at will."""

import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

from rehearsal.kav import LEASH
from rehearsal.ports import free_port

READY_S = 10


def binary() -> str | None:
    """The installed server, or None."""
    return shutil.which("redis-server")


class RedisServer:
    """One server on a free loopback port; it keeps nothing when it stops.

    With a certificate for `localhost`, and its key in the same file, it speaks TLS and nothing else.
    """

    def __init__(self, certificate: Path | None = None) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._certificate = certificate
        self.port = free_port()
        host, scheme = ("127.0.0.1", "redis") if certificate is None else ("localhost", "rediss")
        self.url = f"{scheme}://{host}:{self.port}/0"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        found = binary()
        assert found is not None, "its tests are left out when there is none"
        command = [found, *self._listens(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        leashed = [sys.executable, "-I", "-S", str(LEASH), *command]  # when we are killed, it ends too
        self._process = subprocess.Popen(
            leashed, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/tmp"
        )
        deadline = time.monotonic() + READY_S
        while not self._answers():
            assert time.monotonic() < deadline, "redis-server did not come up"
            assert self._process.poll() is None, "redis-server ended"
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None, "it does not run"
        self._process.send_signal(number)

    def stop(self) -> None:
        """At once, as in a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(READY_S)
            if self._process.stdin is not None:
                self._process.stdin.close()
            self._process = None

    def _listens(self) -> list[str]:
        if self._certificate is None:
            return ["--port", str(self.port)]
        its = str(self._certificate)
        files = ["--tls-cert-file", its, "--tls-key-file", its, "--tls-auth-clients", "no"]
        return ["--port", "0", "--tls-port", str(self.port), *files]

    def _answers(self) -> bool:
        try:
            with self._connected() as asked:
                asked.sendall(b"PING\r\n")
                return asked.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def _connected(self) -> socket.socket:
        asked = socket.create_connection(("127.0.0.1", self.port), timeout=1)
        if self._certificate is None:
            return asked
        trusts = ssl.create_default_context(cafile=self._certificate)
        return trusts.wrap_socket(asked, server_hostname="localhost")

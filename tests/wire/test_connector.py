"""The way to the model over TLS: only to whom the certificate names, and nothing stays open of what is given up."""

import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

from kav.wire.connector import ConnectFailed, Connector, Endpoint
from tests.fuzz.answering import accept
from tests.wire.tool_server import make_certificate, trust

ROOT = Path(__file__).parents[2]
UPGRADE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
WAIT_S = 5


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def served(certificate: Path) -> Iterator[int]:
    """The port of a model as far as its handshake; it takes one connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(WAIT_S)

        def serve() -> None:
            with suppress(OSError), context.wrap_socket(listening.accept()[0], server_side=True) as sock:
                sock.sendall(UPGRADE + accept(sock.recv(65536)) + b"\r\n\r\n")
                sock.recv(1)

        thread = Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(WAIT_S)


def way(host: str, port: int, tls: ssl.SSLContext | None) -> Connector:
    return Connector([Endpoint(f"wss://{host}:{port}", "gpt-realtime-2.1", "key")], WAIT_S, 0, tls)


def test_a_certificate_of_somebody_trusted_opens_the_way(served: int, certificate: Path) -> None:
    ws = way("localhost", served, trust(certificate)).choose().open("+972")
    ws.close()
    ws.finish()
    assert ws.fin_at is not None


@pytest.mark.parametrize(("host", "trusted"), [("127.0.0.1", True), ("localhost", False)], ids=["name", "issuer"])
def test_another_s_certificate_does_not(served: int, certificate: Path, host: str, trusted: bool) -> None:
    with pytest.raises(ConnectFailed, match="CERTIFICATE_VERIFY_FAILED"):
        way(host, served, trust(certificate) if trusted else None).choose().open("+972")


def test_a_handshake_that_is_given_up_leaves_no_socket_behind() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as mute:
        command = [sys.executable, "-m", "tests.wire.handshake_probe", str(mute.getsockname()[1])]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    assert max(json.loads(run.stdout).values()) <= 0, run.stdout

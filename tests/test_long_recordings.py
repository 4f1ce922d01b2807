"""A recording is heard to its end, however long that takes: an answer's time is for a piece of it, not for all."""

import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import gevent
import pytest
from flask import Flask
from gevent import socket as gevent_socket
from gevent.pywsgi import WSGIServer

from kav.records import Records
from kav.settings import Settings
from kav.wire.websocket_server import WebSocketHandler
from routes_recordings import RecordingDesk
from tests.local_servers import ACCOUNT, TOKEN

SOUND = bytes(range(256)) * 36_000  # 9 MB: what the buffers on the way do not take lasts longer than an answer's time
AT_ONCE_BYTES, EVERY_S = 40_000, 0.04
RECORDING = "RE" + "0" * 32
REQUEST_TIMEOUT_S, WAIT_S = 2.5, 40.0


class ImpatientHandler(WebSocketHandler):
    """Gives an answer as long as a test does."""

    request_timeout_s = REQUEST_TIMEOUT_S


class Store(BaseHTTPRequestHandler):
    """Twilio's store of sounds."""

    def do_GET(self) -> None:
        self.send_response_only(200)
        self.send_header("Content-Type", "audio/mpeg")
        self.send_header("Content-Length", str(len(SOUND)))
        self.end_headers()
        self.wfile.write(SOUND)


@pytest.fixture
def twilio() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Store) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(5)


@pytest.fixture
def address(twilio: str, tmp_path: Path) -> Iterator[tuple[str, int]]:
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]  # pydantic-settings' own
        TWILIO_ACCOUNT_SID=ACCOUNT,
        TWILIO_AUTH_TOKEN=TOKEN,  # type: ignore[arg-type]  # a str for a secret
        TWILIO_API_BASE_URL=twilio,
    )
    app = Flask("recordings")
    records = Records(f"sqlite:///{tmp_path / 'kav.db'}")
    records.start()
    assert records.save_recording("CA1", RECORDING, status="completed").wait(WAIT_S)
    desk = RecordingDesk(settings, records)
    app.add_url_rule("/recordings/<recording_sid>", "play", desk.play)
    server = WSGIServer(("127.0.0.1", 0), app, log=None, error_log=None, handler_class=ImpatientHandler)
    server.start()
    assert server.server_port is not None
    yield "127.0.0.1", server.server_port
    server.stop(timeout=1)
    records.stop(1)


def test_a_player_that_reads_no_faster_than_it_plays_hears_all_of_it(address: tuple[str, int]) -> None:
    client = gevent_socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 512 * 1024)
    client.connect(address)
    client.sendall(f"GET /recordings/{RECORDING} HTTP/1.1\r\nHost: kav\r\nConnection: close\r\n\r\n".encode())
    heard = bytearray()
    with gevent.Timeout(WAIT_S):
        while piece := client.recv(AT_ONCE_BYTES):
            heard += piece
            gevent.sleep(EVERY_S)  # what a player does between two pieces
    client.close()
    assert heard.partition(b"\r\n\r\n")[2] == SOUND

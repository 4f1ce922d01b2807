"""Guards comparisons with what is secret: each goes through `hmac.compare_digest`, whatever was guessed."""

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import gevent
import pytest
from flask import Flask
from flask.testing import FlaskClient
from gevent import socket as gevent_socket
from gevent.pywsgi import WSGIServer

import stream_registry
from kav.wire.frames import text_frame
from kav.wire.websocket_server import WebSocketHandler
from rehearsal.twilio.signing import SETTINGS_HEADER, SIGNATURE_HEADER, signature
from tests.console.browser import CSRF
from tests.fuzz.installation import API_TOKEN, PASSWORD, SECRETS, TOKEN, URL, installation

METRICS_TOKEN = SECRETS[5]
KEY_ID, KEY = "webhooks_sharedkey_1", "the-secret-of-the-shared-key"
SID = "CA" + "1" * 32
FORM = {"CallSid": SID, "From": "+972501234567", "To": "+97231110002", "CallStatus": "ringing"}
COMPARED_SAFELY: Final = hmac.compare_digest


class Watched(str):
    """A secret that remembers whether it was compared as texts are, letter by letter until one is not the same."""

    __slots__ = ()
    told: Final[list[str]] = []

    def __eq__(self, other: object) -> bool:
        self.told.append(f"== {other!r}")
        return str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        self.told.append(f"!= {other!r}")
        return str.__ne__(self, other)

    __hash__ = str.__hash__

    def __contains__(self, other: object) -> bool:
        self.told.append(f"in {other!r}")
        return str.__contains__(self, str(other))

    def startswith(self, *other: Any) -> bool:  # noqa: ANN401 - str's own arguments
        self.told.append(f"startswith {other!r}")
        return str.startswith(self, *other)


@pytest.fixture
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """A Kav whose secrets are watched."""
    folder = tmp_path_factory.mktemp("kav")
    with installation(folder, TWILIO_SHARED_KEY_ID=KEY_ID, TWILIO_SHARED_KEY=KEY, LOG_LEVEL="ERROR") as app:
        settings = app.extensions["kav"].settings
        for name in ("KAV_API_TOKEN", "KAV_METRICS_TOKEN", "TWILIO_AUTH_TOKEN", "KAV_CONSOLE_PASSWORD"):
            secret = getattr(settings, name)
            secret._secret_value = Watched(secret.get_secret_value())  # noqa: SLF001 - pydantic would copy it
            assert type(secret.get_secret_value()) is Watched
        Watched.told.clear()
        yield app


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[set[bytes]]:
    """Every pair that is compared in constant time."""
    pairs: list[set[bytes]] = []

    def compare(one: Any, other: Any) -> bool:  # noqa: ANN401 - hmac's own arguments
        pairs.append({each.encode() if isinstance(each, str) else bytes(each) for each in (one, other)})
        return COMPARED_SAFELY(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    return pairs


def guesses(secret: str) -> list[str]:
    """Wrong at the first letter, wrong at the last one, too short, too long, nothing, and right."""
    first, last = ("B" if letter == "A" else "A" for letter in (secret[0], secret[-1]))
    return [first + secret[1:], secret[:-1] + last, secret[:-1], secret + "A", "", secret]


@pytest.mark.parametrize("key", [None, KEY], ids=["auth token", "shared key"])
def test_signatures(app: Flask, compared: list[set[bytes]], key: str | None) -> None:
    path = "/twilio/status"
    named = {SETTINGS_HEADER: f"key={KEY_ID},algorithm=HMAC_SHA256"} if key else {}
    right = signature(key or TOKEN, URL + path, FORM, "sha256" if key else "sha1")
    for guess in guesses(right):
        compared.clear()
        answer = app.test_client().post(path, data=FORM, headers={SIGNATURE_HEADER: guess, **named})
        assert answer.status_code == (204 if guess == right else 403)
        assert {right.encode(), guess.encode()} in compared
    assert Watched.told == []


PAGES = [
    *(("/calls", API_TOKEN, 401), ("/metrics", METRICS_TOKEN, 401), ("/metrics", API_TOKEN, 401)),
    *((f"/calls/{SID}", API_TOKEN, 401), ("/recordings/RE" + "1" * 32, API_TOKEN, 401), ("/healthz", API_TOKEN, 200)),
]


@pytest.mark.parametrize(("path", "token", "refused"), PAGES)
def test_tokens_of_programs(app: Flask, compared: list[set[bytes]], path: str, token: str, refused: int) -> None:
    for guess in guesses(token):
        compared.clear()
        answer = app.test_client().get(path, headers={"Authorization": f"Bearer {guess}"})
        assert guess == token or answer.status_code == refused
        given = f"Bearer {guess}".strip()
        assert any(
            f"Bearer {token}".encode() in pair and given.encode() in {one.strip() for one in pair} for pair in compared
        )
    assert Watched.told == []


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def login_page(client: FlaskClient) -> str:
    found = CSRF.search(client.get("/console/login", base_url=URL).text)
    assert found
    return found[1]


def test_the_console_s_password(app: Flask, compared: list[set[bytes]]) -> None:
    for at, guess in enumerate(guesses(PASSWORD)):
        client = app.test_client()
        form = {"csrf": login_page(client), "password": guess}
        compared.clear()
        where: Any = {"REMOTE_ADDR": f"198.51.100.{at}"}
        answer = client.post("/console/login", data=form, base_url=URL, environ_overrides=where)
        assert (answer.status_code == 303) is (guess == PASSWORD)
        assert {digest(PASSWORD), digest(guess)} in compared
    assert Watched.told == []


def test_the_tokens_of_forms(app: Flask, compared: list[set[bytes]]) -> None:
    client = app.test_client()
    token = login_page(client)
    for guess in guesses(token):
        compared.clear()
        answer = client.post("/console/login", data={"csrf": guess, "password": PASSWORD}, base_url=URL)
        assert answer.status_code == (303 if guess == token else 403)
        assert {digest(token), digest(guess)} in compared


@contextmanager
def served(app: Flask) -> Iterator[Callable[[str], bytes]]:
    """Serve it on loopback; gives what opens a media socket with a stream's token, and hears it to its end."""
    server = WSGIServer(("127.0.0.1", 0), app, log=None, error_log=None, handler_class=WebSocketHandler)
    server.start()
    media = "wss" + URL.removeprefix("https") + "/twilio/media"
    heads = (
        *("GET /twilio/media HTTP/1.1", "Host: kav", "Upgrade: websocket", "Connection: Upgrade"),
        *("Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="),
        f"{SIGNATURE_HEADER}: {signature(TOKEN, media)}",
    )

    def stream(token: str) -> bytes:
        start = {
            "callSid": SID,
            "streamSid": "MZ1",
            "accountSid": "AC" + "0" * 32,
            "customParameters": {"token": token},
        }
        said = text_frame(json.dumps({"event": "start", "start": start}).encode(), masked=True)
        sock = gevent_socket.create_connection(("127.0.0.1", server.server_port))
        heard = b""
        with gevent.Timeout(5), suppress(OSError):
            sock.sendall("\r\n".join((*heads, "", "")).encode())
            heard = sock.recv(65536)
            sock.sendall(said)
            while piece := sock.recv(65536):
                heard += piece
        sock.close()
        return heard

    yield stream
    server.stop(timeout=1)


def test_the_tokens_of_streams(app: Flask, compared: list[set[bytes]]) -> None:
    path = "/twilio/voice"
    answer = app.test_client().post(path, data=FORM, headers={SIGNATURE_HEADER: signature(TOKEN, URL + path, FORM)})
    entry = stream_registry.get(SID)
    assert entry is not None
    assert entry["token"]
    assert entry["token"] in answer.text
    token = entry["token"] = Watched(entry["token"])
    with served(app) as stream:
        for guess in guesses(str(token))[:-1]:
            compared.clear()
            assert stream(guess).endswith((1008).to_bytes(2, "big"))
            assert {str.encode(token), guess.encode()} in compared
    assert Watched.told == []

"""Real servers on loopback, each in a thread, that answer as Twilio's REST API, as a public Kav and as the model."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from flask import Flask, request
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]  # ships no types
from websockets.sync.server import ServerConnection, serve
from werkzeug.serving import make_server

ACCOUNT, TOKEN = "AC" + "0" * 32, "secret-token"
NUMBER, NUMBER_SID = "+97231234567", "PN" + "0" * 32
Answer = tuple[int, dict[str, Any]]


@dataclass
class TwilioApi:
    """Twilio's REST API with one number; `faults` are answered first, one a request (status 0: no answer)."""

    url: str = ""
    calls: dict[str, dict[str, Any]] = field(default_factory=dict)
    number: dict[str, Any] = field(default_factory=lambda: {"sid": NUMBER_SID, "phone_number": NUMBER})
    faults: list[int] = field(default_factory=list)
    fault_code: int = 0
    date: str = ""
    over: Event = field(default_factory=Event)
    seen: list[tuple[str, str, dict[str, str], str]] = field(default_factory=list)

    def answer(self, method: str, target: str, form: dict[str, str], authorization: str) -> Answer:
        path = urlsplit(target).path
        self.seen.append((method, path, form, authorization))
        if self.faults:
            return self._fault(self.faults.pop(0))
        resource = path.removeprefix("/2010-04-01/Accounts").removesuffix(".json").strip("/").split("/")
        if resource[0] != ACCOUNT:
            return error(401, 20003, "Authenticate")
        if resource[1:] == ["Calls"]:
            return 201, {"sid": "CA7", "status": "queued", **form}
        if resource[1:2] == ["Calls"]:
            return self._call(resource[2], form)
        if resource[1:2] == ["Recordings"]:
            return (204, {}) if method == "DELETE" else (404, {})
        if resource[1:2] == ["IncomingPhoneNumbers"]:
            return self._number(resource[2:], target, form)
        return 200, {"sid": ACCOUNT, "status": "active"}

    def _fault(self, status: int) -> Answer:
        if status == 0:
            self.over.wait(timeout=5)
        return error(status or 500, self.fault_code or 20000 + status, "on purpose")

    def _call(self, sid: str, form: dict[str, str]) -> Answer:
        call = self.calls.get(sid)
        if call is None:
            return error(404, 20404, "The requested resource was not found")
        if form and call["status"] != "in-progress":
            return error(400, 21220, "Unable to update record. Call is not in progress.")
        call |= {"status": form.get("Status", call["status"])}
        return 200, {"sid": sid, **call}

    def _number(self, sid: list[str], target: str, form: dict[str, str]) -> Answer:
        if sid:
            self.number |= {snake(name): value for name, value in form.items()}
            return 200, self.number
        wanted = parse_qs(urlsplit(target).query).get("PhoneNumber", [NUMBER])
        found = [self.number] if self.number["phone_number"] in wanted else []
        return 200, {"incoming_phone_numbers": found, "next_page_uri": None}


def error(status: int, code: int, message: str) -> Answer:
    return status, {"code": code, "message": message, "more_info": "", "status": status}


def snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


@contextmanager
def twilio_api() -> Iterator[TwilioApi]:
    api = TwilioApi()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._serve("GET")

        def do_POST(self) -> None:
            self._serve("POST")

        def do_DELETE(self) -> None:
            self._serve("DELETE")

        def _serve(self, method: str) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            status, answer = api.answer(method, self.path, form, self.headers.get("Authorization", ""))
            text = json.dumps(answer).encode()
            self.send_response_only(status)
            self.send_header("Date", api.date or self.date_time_string())
            self.send_header("Content-Length", str(len(text)))
            with suppress(ConnectionError):  # who asked has stopped waiting
                self.end_headers()
                self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        api.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield api
        api.over.set()
        server.shutdown()
        thread.join(5)


@contextmanager
def public_kav(token: str = TOKEN, *, checks: bool = True) -> Iterator[str]:
    """A Kav as Twilio meets it: health, and signatures checked with Twilio's own validator; gives its base URL."""
    app = Flask("public_kav")

    @app.get("/healthz")
    def _health() -> str:
        return "ok"

    @app.post("/twilio/stream-status")
    def _stream_status() -> tuple[str, int]:
        signature = request.headers.get("X-Twilio-Signature", "")
        valid = RequestValidator(token).validate(request.url, request.form, signature)
        return "", 204 if valid or not checks else 403

    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(5)


@contextmanager
def realtime_model(key: str, first: dict[str, Any]) -> Iterator[str]:
    """The model's endpoint: refuses another key with 401, sends `first` to the right one; gives its URL."""

    def speak(connection: ServerConnection) -> None:
        connection.send(json.dumps(first))
        for _ in connection:
            pass

    def admit(connection: ServerConnection, asked: Any) -> Any:  # noqa: ANN401 - the server's own types
        right = asked.headers.get("Authorization") == f"Bearer {key}"
        return None if right else connection.respond(401, "Unauthorized\n")

    with serve(speak, "127.0.0.1", 0, process_request=admit) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/v1/realtime"
        server.shutdown()
        thread.join(5)

"""Real servers on loopback, each in a thread: who is told of a call by webhook or e-mail, and who sums it up."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any


@dataclass
class Received:
    """What an HTTP server was sent; `statuses` are answered first, one a request."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.requests]


@contextmanager
def http_receiver(answer: Callable[[bytes], bytes] = lambda _: b"{}") -> Iterator[Received]:
    """A server that takes every POST; `answer` makes the body of a 200."""
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            received.requests.append((dict(self.headers.items()), body))
            status = received.statuses.pop(0) if received.statuses else 200
            text = answer(body) if status == 200 else b"no"
            with suppress(ConnectionError):
                self.send_response_only(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        received.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield received
        server.shutdown()
        thread.join(5)


USED = {
    "input_tokens": 1200,
    "input_tokens_details": {"cached_tokens": 1000},
    "output_tokens": 90,
    "output_tokens_details": {"reasoning_tokens": 30},
    "total_tokens": 1290,
}
"""Of every answer below, as the API tells it."""


def summing_up(summary: Mapping[str, object]) -> Callable[[bytes], bytes]:
    """The Responses API as far as a summary needs it: every request is answered with `summary` as its text."""

    def answer(_body: bytes) -> bytes:
        text = {"type": "output_text", "text": json.dumps(summary, ensure_ascii=False), "annotations": []}
        message = {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [text]}
        response = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "completed"}
        plain = {"parallel_tool_calls": False, "tool_choice": "auto", "tools": []}
        return json.dumps({**response, **plain, "output": [message], "usage": USED}).encode()

    return answer


@dataclass
class Mailbox:
    """What a mail server took, and by which recipients; `refusals` are answered first, by the verb that they answer."""

    url: str = ""
    refusals: list[tuple[str, str]] = field(default_factory=list)
    mails: list[tuple[str, EmailMessage]] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    connections: int = 0
    """That are open just now."""


class MailServer(ThreadingTCPServer):
    """Counts who is connected."""

    daemon_threads = True
    mailbox: Mailbox

    def process_request_thread(self, request: socket | tuple[bytes, socket], client_address: object) -> None:
        self.mailbox.connections += 1
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.mailbox.connections -= 1


@contextmanager
def mail_receiver() -> Iterator[Mailbox]:
    """A mail server as RFC 5321 has it, for one message a connection, without TLS as on loopback."""
    mailbox = Mailbox()

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            self.say("220 ready")
            recipient = ""
            while line := self.rfile.readline().decode().strip():
                verb = line.upper()
                if mailbox.refusals and verb.startswith(mailbox.refusals[0][0]):
                    self.say(mailbox.refusals.pop(0)[1])
                elif verb.startswith("EHLO"):
                    self.say("250-here\r\n250 AUTH PLAIN")
                elif verb.startswith("AUTH"):
                    mailbox.logins.append(line.split()[-1])
                    self.say("235 ok")
                elif verb.startswith("RCPT"):
                    recipient = line.partition("<")[2].partition(">")[0]
                    self.say("250 ok")
                elif verb == "DATA":
                    self.say("354 go on")
                    mail = message_from_bytes(b"".join(iter(self.rfile.readline, b".\r\n")), policy=policy.default)
                    if mailbox.refusals and mailbox.refusals[0][0] == ".":
                        self.say(mailbox.refusals.pop(0)[1])
                        continue
                    mailbox.mails.append((recipient, mail))
                    self.say("250 taken")
                else:
                    self.say("221 bye" if verb == "QUIT" else "250 ok")

        def say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    with MailServer(("127.0.0.1", 0), Handler) as server:
        server.mailbox = mailbox
        mailbox.url = f"smtp://bot%40kav.example:secret-word@127.0.0.1:{server.server_address[1]}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield mailbox
        server.shutdown()
        thread.join(5)

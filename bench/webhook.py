"""A POST on the loop, as Twilio sends it: a form, signed."""

from collections.abc import Callable, Mapping
from urllib.parse import urlencode

from bench.connection import Connection
from bench.endpoint import connect
from bench.loop import Loop
from rehearsal.twilio.signing import signed_headers

AUTH_TOKEN = "bench-token"


def post(loop: Loop, port: int, path: str, form: Mapping[str, str], answered: Callable[[int, str], None]) -> None:
    """Send a signed webhook; `answered(status, body)` is called when the answer is complete."""
    body = urlencode(form).encode()
    received = bytearray()

    def ended(_at: float) -> None:
        connection.close()
        head, _blank, content = bytes(received).partition(b"\r\n\r\n")
        words = head.split(b" ", 2)
        answered(int(words[1]) if len(words) > 1 else 0, content.decode())

    connection = Connection(loop, connect(port), lambda data, _at: received.extend(data), ended)
    headers = {
        "Host": f"127.0.0.1:{port}",
        "Connection": "close",
        "Content-Type": "application/x-www-form-urlencoded",
        "Content-Length": str(len(body)),
        **signed_headers(AUTH_TOKEN, f"http://127.0.0.1:{port}{path}", form),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    connection.send(f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body)

"""Tells the business's own systems of a call: one POST of JSON, signed, tried again while that may help.

    Kav-Signature: t=1763850000,v1=<hex of HMAC-SHA256 over "1763850000.<body>" with KAV_WEBHOOK_SECRET>
    Idempotency-Key: call.ended/CA…      the same at every attempt

The time stands in the signature, so that nobody can send an old message anew.
"""

import hashlib
import hmac
import http.client
import ssl
import time
from collections.abc import Callable, Iterable
from functools import cache
from typing import Final
from urllib.parse import urlsplit

import gevent

TIMEOUT_S: Final = 10.0
"""Of one attempt, from the connection to the last byte of the answer."""

PAUSES_S: Final = (2.0, 8.0, 30.0)
"""Before each of the three retries: a restart of the receiver takes some seconds."""

READ_BYTES: Final = 4096
"""Of an answer that nobody looks at but for its status."""


class NotDelivered(Exception):
    """The receiver did not take it; `final`: and will not, however often it is told."""

    def __init__(self, why: str, *, final: bool = False) -> None:
        super().__init__(why)
        self.final = final


def signature(secret: str, body: bytes, at_s: int) -> str:
    """The value of `Kav-Signature` for a body sent at `at_s` (Unix time)."""
    digest = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def warm_up() -> None:
    """Read the certificates now: 15 ms that no call should wait for."""
    _tls()


def deliver(
    url: str,
    secret: str,
    body: bytes,
    key: str,
    *,
    pauses_s: Iterable[float] = PAUSES_S,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> None:
    """Send the body until it is taken; waits, cooperatively. `sleep` takes seconds, `clock` gives Unix time.

    Raises NotDelivered when it was refused for good, or at every attempt: one before each pause, and the last.
    """

    def attempt() -> None:
        _attempt(url, body, {"Kav-Signature": signature(secret, body, int(clock())), "Idempotency-Key": key})

    for pause_s in pauses_s:
        try:
            attempt()
        except NotDelivered as error:
            if error.final:
                raise
        else:
            return
        sleep(pause_s)
    attempt()


def _attempt(url: str, body: bytes, headers: dict[str, str]) -> None:
    late = NotDelivered(f"it gave no answer within {TIMEOUT_S:g} s")
    try:
        with gevent.Timeout(TIMEOUT_S, late):
            status = _post(url, body, headers)
    except (OSError, http.client.HTTPException) as error:
        raise NotDelivered(f"it could not be reached ({type(error).__name__})") from error
    if not 200 <= status < 300:
        raise NotDelivered(f"it answered {status}", final=status not in (408, 425, 429) and status < 500)


def _post(url: str, body: bytes, headers: dict[str, str]) -> int:
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection = (
        http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT_S, context=_tls())
        if parts.scheme == "https"
        else http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_S)
    )
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body, {"Content-Type": "application/json", "User-Agent": "kav", **headers})
        answer = connection.getresponse()
        answer.read(READ_BYTES)
        return answer.status
    finally:
        connection.close()

"""Guards the handshake with the model: a WebSocket that hears all that follows, or a failure in words."""

from collections.abc import Iterator
from contextlib import suppress

import gevent
import gevent.socket
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kav.call.breaker import LIMITED_S
from kav.wire.connector import ConnectFailed, Connector, Endpoint, Route
from kav.wire.frames import text_frame
from kav.wire.websocket import Closed, WebSocket
from tests.fuzz import answering, fuzzed, mutated
from tests.fuzz.answering import ACCEPT, Service

KEY, CALLER = "sk-the-openai-key", "+972501234567"
IN_TIME_S = 5.0
SHOWN = 400
"""Characters of a failure: it stands in the log, once for every call that fails."""

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
HONEST = SWITCH + b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n\r\n"
REFUSED = [
    b"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:1/\r\n\r\n",
    b"HTTP/1.1 503 Service Unavailable\r\n\r\n",
]
HEADERS = st.sampled_from(
    [
        *(
            b"Set-Cookie: a=b; Path=/",
            b"Set-Cookie: \x00=;;",
            b"Set-Cookie: a b c",
            b"X:",
            b":",
            b"no colon",
            b" folded",
        ),
        *(b"X: \xff", b"X: " + b"a" * 10_000, b"Sec-WebSocket-Extensions: permessage-deflate", b"Connection: close"),
        *(b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=", b"Upgrade: h2c", b"Sec-WebSocket-Protocol: evil"),
    ]
)
CUTS = st.lists(st.integers(1, 60), max_size=8)
SAID = text_frame("שלום".encode(), masked=False)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with answering.service() as service:
        yield service


@pytest.fixture(scope="module")
def route(service: Service) -> Iterator[Route]:
    """On gevent's sockets, as in a process of Kav's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("websocket._http.socket", gevent.socket)
        endpoint = Endpoint(service.url.replace("http", "ws", 1) + "/v1/realtime", "gpt-realtime-2.1", KEY)
        yield Connector([endpoint], timeout_s=0.5, rest_s=10).choose()


def opened(route: Route) -> WebSocket | ConnectFailed:
    with gevent.Timeout(IN_TIME_S):
        try:
            return route.open(CALLER)
        except ConnectFailed as error:
            return error


@fuzzed
@given(
    mutated([HONEST, *REFUSED])
    | st.lists(HEADERS, max_size=3).map(lambda more: b"".join((SWITCH, *(line + b"\r\n" for line in more), b"\r\n")))
    | st.binary(max_size=200),
    CUTS,
)
@example(b"HTTP/1.1\r\n\r\n", [])
@example(b"HTTP/1.1 abc\r\n\r\n", [])
@example(b"HTTP/1.1 999999999999999999999 X\r\n\r\n", [])
@example(b"\xff\r\n\r\n", [])
@example(b"HTTP/1.1 401 " + b"x" * 50_000 + b"\r\n\r\n", [])
@example(b"HTTP/1.1 401 X\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", [])
@example(b"HTTP/1.1 500 X\r\nContent-Length: 99\r\n\r\nx", [])
@example(b"HTTP/1.1 429 X\r\nRetry-After: " + b"9" * 400 + b"\r\n\r\n", [])
@example(b"HTTP/1.1 429 X\r\nRetry-After: " + b"9" * 5000 + b"\r\n\r\n", [])
@example(b"X: y\r\n" * 3000 + b"\r\n", [])
@example(SWITCH + b"X: y\r\n" * 2_000_000, [])
@example(SWITCH + b"Set-Cookie: a b=\xd7\xa9\r\nSec-WebSocket-Accept: " + ACCEPT + b"\r\n\r\n", [])
def test_whatever_answers_the_upgrade_is_a_socket_or_a_failure_in_few_words(
    service: Service, route: Route, data: bytes, cuts: list[int]
) -> None:
    service.answer, service.cuts = data, cuts
    found = opened(route)
    if isinstance(found, ConnectFailed):
        assert KEY not in str(found)
        assert len(str(found)) < SHOWN
        assert 0 <= found.limited_s <= 1000 * LIMITED_S
    else:
        assert b" 101" in data
        found.finish()


@fuzzed
@given(st.lists(HEADERS, max_size=2), st.integers(0, 3), CUTS)
@example([], 3, [1] * 30)
def test_no_word_that_follows_the_handshake_is_lost_however_it_is_cut(
    service: Service, route: Route, more: list[bytes], words: int, cuts: list[int]
) -> None:
    said = b"".join(line + b"\r\n" for line in more if line.startswith((b"X: a", b"Set-Cookie: a=b")))
    service.answer, service.cuts = HONEST[:-2] + said + b"\r\n" + SAID * words, cuts
    ws = opened(route)
    assert isinstance(ws, WebSocket), ws
    heard = []
    with gevent.Timeout(IN_TIME_S), suppress(Closed):
        while True:
            heard.append(ws.receive())
    ws.finish()
    assert heard == ["שלום".encode()] * words


@fuzzed
@given(st.binary(min_size=0, max_size=40) | st.just(b"AAAAAAAAAAAAAAAAAAAAAAAAAAA="))
def test_who_does_not_answer_to_the_key_is_not_talked_to(service: Service, route: Route, accept: bytes) -> None:
    service.answer = SWITCH + b"Sec-WebSocket-Accept: " + accept.translate(None, b"\r\n") + b"\r\n\r\n"
    service.cuts = []
    assert isinstance(opened(route), ConnectFailed)

"""The model's side of a call: the caller's audio in order whatever the network does, a second attempt, nothing left."""

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import cast

import gevent
import pytest
from websockets.protocol import Side

from kav.call.breaker import FAILURES, Breaker
from kav.wire.connector import ConnectFailed, Connector, Endpoint, LeftAlone, Route
from kav.wire.model_leg import ModelLeg
from kav.wire.realtime import Said
from kav.wire.websocket import WebSocket
from tests.wire.peers import WAIT_S, Peer, connected, until

UPDATED = json.dumps(
    {
        "type": "session.updated",
        "session": {"audio": {side: {"format": {"type": "audio/pcmu"}} for side in ("input", "output")}},
    }
).encode()
ANSWERED = json.dumps({"type": "response.done", "response": {"id": "resp_1", "status": "completed"}}).encode()


class Way(Route):
    """In the place of the way to an endpoint: hands out WebSockets over TCP to peers that a test plays."""

    def __init__(self, stack: ExitStack, refusals: int = 0, answers_after_s: float = 0.05) -> None:
        self.endpoint, self.breaker = Endpoint("wss://a.example", "gpt-realtime-2.1", "key"), Breaker(rest_s=60)
        self.refusals, self.asked = refusals, 0
        self.peers: list[Peer] = []
        self._stack, self.answers_after_s = stack, answers_after_s

    def open(self, caller: str) -> WebSocket:  # noqa: ARG002 - a route's signature
        """Refuse at first, then connect."""
        self.asked += 1
        gevent.sleep(self.answers_after_s)
        if self.asked <= self.refusals:
            raise ConnectFailed("refused")
        ws, peer = self._stack.enter_context(connected(Side.CLIENT, max_message_bytes=None, buffer_bytes=8192))
        self.peers.append(peer)
        return ws


class Lines(Connector):
    """In the place of a connector; the first of its ways is what most tests look at."""

    def __init__(self, stack: ExitStack, refusals: int = 0, *others: Way) -> None:
        self._routes = [Way(stack, refusals), *others]

    @property
    def way(self) -> Way:
        return cast("Way", self._routes[0])

    @property
    def asked(self) -> int:
        return self.way.asked

    @property
    def peers(self) -> list[Peer]:
        return self.way.peers


class Told:
    """A stream, as far as a leg knows it."""

    def __init__(self) -> None:
        self.ready = 0
        self.lost: list[str] = []

    def model_ready(self, at: float) -> None:  # noqa: ARG002 - a listener's signature
        self.ready += 1

    def model_said(self, at: float, said: Said) -> None:
        """Nothing that matters here."""

    def model_lost(self, at: float, detail: str) -> None:  # noqa: ARG002 - a listener's signature
        self.lost.append(detail)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    before = ModelLeg.open_count
    with ExitStack() as stack:
        yield stack
    until(lambda: ModelLeg.open_count == before)


def leg_over(
    lines: Lines,
    stack: ExitStack,
    attempts: int = 1,
    within_s: float = WAIT_S,
    *,
    insists: bool = False,
    tried: Iterable[Route] = (),
) -> ModelLeg:
    leg = ModelLeg("CA1", lines, {}, "+972", within_s, attempts=attempts, insists=insists, tried=tried)
    stack.callback(leg.close)
    return leg


def configured(way: Lines | Way, number: int = 1) -> Peer:
    """The so-manieth peer, once it has the configuration and has confirmed it."""
    until(lambda: len(way.peers) >= number)
    peer = way.peers[number - 1]
    peer.read_until(lambda: bool(peer.messages))
    peer.send(UPDATED)
    return peer


def _ready(told: Told) -> None:
    until(lambda: bool(told.ready))


def frames(first: int, count: int) -> list[bytes]:
    return [b'"%05d%s"' % (number, b"A" * 995) for number in range(first, first + count)]


def test_what_waited_for_a_slow_model_comes_before_what_is_said_meanwhile(stack: ExitStack) -> None:
    lines = Lines(stack)
    leg = leg_over(lines, stack)
    for payload in frames(0, 3000):
        leg.append(payload)
    peer = configured(lines)
    until(lambda: leg.stalled(time.monotonic(), 0.02))
    for payload in frames(3000, 10):
        leg.append(payload)
    peer.read_until(lambda: len(peer.messages) == 3011)
    assert [json.loads(message)["audio"][:5] for message in peer.messages[1:]] == [f"{n:05d}" for n in range(3010)]


def test_a_refusal_is_tried_once_more_while_a_stream_is_waiting(stack: ExitStack) -> None:
    lines, told = Lines(stack, refusals=1), Told()
    leg = leg_over(lines, stack, attempts=2)
    leg.claim(told)
    leg.append(frames(0, 1)[0])
    peer = configured(lines)
    until(lambda: bool(told.ready))
    peer.read_until(lambda: len(peer.messages) == 2)
    assert (lines.asked, told.ready, told.lost) == (2, 1, [])


def test_two_refusals_are_enough(stack: ExitStack) -> None:
    lines, told = Lines(stack, refusals=9), Told()
    leg_over(lines, stack, attempts=2).claim(told)
    until(lambda: bool(told.lost))
    assert (lines.asked, told.lost) == (2, ["refused"])


def test_nobody_waits_so_nothing_is_tried_again(stack: ExitStack) -> None:
    lines = Lines(stack, refusals=9)
    leg = leg_over(lines, stack, attempts=2)
    until(lambda: leg.lost is not None)
    assert lines.asked == 1


@pytest.mark.parametrize("moment_s", [0.0, 0.02, 0.07, 0.12])
def test_a_leg_that_is_closed_while_it_connects_leaves_nothing(stack: ExitStack, moment_s: float) -> None:
    lines, told = Lines(stack, refusals=1), Told()
    leg = leg_over(lines, stack, attempts=2)
    leg.claim(told)
    gevent.sleep(moment_s)
    leg.close()
    leg.wait_done(WAIT_S)
    assert told.lost == []


def test_the_stream_that_comes_late_is_told_what_it_missed(stack: ExitStack) -> None:
    lines, told, late = Lines(stack), Told(), Told()
    leg = leg_over(lines, stack)
    configured(lines)
    leg.claim(told)
    until(lambda: bool(told.ready))
    lines.peers[0].sock.close()
    until(lambda: leg.lost is not None)
    leg.claim(late)
    assert late.lost == told.lost == [leg.lost]


# Where there is another endpoint


@pytest.mark.parametrize("answers_after_s", [0.05, 60])
def test_another_endpoint_is_asked_within_the_same_time_whether_a_stream_waits_or_not(
    stack: ExitStack, answers_after_s: float
) -> None:
    """The first refuses, or takes the connection and says nothing."""
    spare = Way(stack)
    lines = Lines(stack, 9, spare)
    lines.way.answers_after_s = answers_after_s
    leg = leg_over(lines, stack, attempts=2, within_s=4.0)
    configured(spare)
    told = Told()
    leg.claim(told)
    until(lambda: bool(told.ready))
    assert (lines.way.breaker.failures, spare.breaker.failures) == (1, 0)


def test_an_endpoint_that_takes_connections_and_confirms_nothing_is_left_alone_in_the_end(stack: ExitStack) -> None:
    spare = Way(stack)
    lines = Lines(stack, 0, spare)
    for number in range(1, FAILURES + 1):
        leg = leg_over(lines, stack, attempts=2, within_s=3.0)
        configured(spare, number)
        leg.close()
        leg.wait_done(WAIT_S)
    assert lines.asked == FAILURES
    leg_over(lines, stack, attempts=2, within_s=3.0)
    configured(spare, FAILURES + 1)
    assert lines.asked == FAILURES, "nobody waits for it any more"


def test_one_that_is_configured_and_never_answers_counts_as_failed(stack: ExitStack) -> None:
    lines = Lines(stack)
    for number in range(1, FAILURES + 1):
        leg = leg_over(lines, stack)
        configured(lines, number)
        leg.claim(told := Told())
        _ready(told)
        leg.disown()
        leg.wait_done(WAIT_S)
    with pytest.raises(LeftAlone):
        lines.choose()


def answering(lines: Lines, leg: ModelLeg) -> Peer:
    """The first peer, and a leg to it that has had an answer to its end."""
    peer = configured(lines)
    leg.claim(told := Told())
    _ready(told)
    peer.send(ANSWERED)
    until(lambda: lines.way.breaker.failures == 0)
    return peer


def test_one_that_has_answered_and_is_given_up_is_not_asked_again_before_the_others(stack: ExitStack) -> None:
    lines = Lines(stack, 0, Way(stack))
    lines.way.failed()
    leg = leg_over(lines, stack)
    answering(lines, leg)
    leg.disown()
    assert leg.tried == (lines.way,)
    assert lines.way.breaker.failures == 1, "others are to know, too"
    leg.wait_done(WAIT_S)
    assert (leg.tried, lines.way.breaker.failures) == ((lines.way,), 1)


def test_one_that_has_answered_and_whose_connection_breaks_is_asked_again(stack: ExitStack) -> None:
    spare = Way(stack)
    lines = Lines(stack, 0, spare)
    lines.way.failed()
    leg = leg_over(lines, stack, tried=[spare])
    peer = answering(lines, leg)
    peer.sock.close()
    until(lambda: leg.lost is not None)
    leg.disown()
    assert leg.tried == (spare,), "who was asked in vain before still was"
    assert lines.way.breaker.failures == 0


def test_when_all_have_failed_a_new_call_is_told_at_once_and_one_that_goes_on_is_tried(stack: ExitStack) -> None:
    lines, told = Lines(stack), Told()
    for _ in range(FAILURES):
        lines.way.failed()
    leg_over(lines, stack, attempts=2).claim(told)
    until(lambda: bool(told.lost))
    assert lines.asked == 0
    assert "tried once more in" in told.lost[0]
    leg_over(lines, stack, attempts=2, insists=True).claim(insisting := Told())
    configured(lines)
    until(lambda: bool(insisting.ready))


def test_one_that_wants_to_be_asked_less_is_asked_only_where_there_is_no_other(stack: ExitStack) -> None:
    spare = Way(stack)
    lines = Lines(stack, 0, spare)
    configured_leg = leg_over(lines, stack)
    peer = configured(lines)
    configured_leg.claim(told := Told())
    until(lambda: bool(told.ready))
    limit = {"name": "tokens", "limit": 1000, "remaining": 0, "reset_seconds": 30.0}
    peer.send(json.dumps({"type": "rate_limits.updated", "rate_limits": [limit]}).encode())
    until(lambda: lines.choose() is spare)
    spare.limited()
    assert lines.choose() is lines.way, "a caller is better served by a try than by none"


def test_a_refused_configuration_is_tried_elsewhere_and_is_no_fault_of_the_endpoint(stack: ExitStack) -> None:
    spare = Way(stack)
    lines = Lines(stack, 0, spare)
    leg_over(lines, stack, attempts=2)
    until(lambda: bool(lines.peers))
    lines.peers[0].send(json.dumps({"type": "error", "error": {"code": "invalid_value", "message": "no"}}).encode())
    configured(spare)
    assert lines.way.breaker.failures == 0

"""The model's side of a call: the caller's audio in order whatever the network does, a second attempt, nothing left."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import cast

import gevent
import pytest
from websockets.protocol import Side

from kav.wire.connector import ConnectFailed, Connection, Connector
from kav.wire.model_leg import ModelLeg
from kav.wire.realtime import Translated
from tests.wire.peers import WAIT_S, Peer, connected, until

UPDATED = json.dumps(
    {
        "type": "session.updated",
        "session": {"audio": {side: {"format": {"type": "audio/pcmu"}} for side in ("input", "output")}},
    }
).encode()


class Lines:
    """In the place of a connector: hands out WebSockets over TCP to peers that a test plays; refuses at first."""

    def __init__(self, stack: ExitStack, refusals: int = 0) -> None:
        self.refusals = refusals
        self.asked = 0
        self.peers: list[Peer] = []
        self._stack = stack

    def connect(self, caller: str) -> Connection:  # noqa: ARG002 - a connector's signature
        self.asked += 1
        gevent.sleep(0.05)
        if self.asked <= self.refusals:
            raise ConnectFailed("refused")
        ws, peer = self._stack.enter_context(connected(Side.CLIENT, max_message_bytes=None, buffer_bytes=8192))
        self.peers.append(peer)
        return Connection(ws, "gpt-realtime-2.1")


class Told:
    """A stream, as far as a leg knows it."""

    def __init__(self) -> None:
        self.ready = 0
        self.lost: list[str] = []

    def model_ready(self, at: float) -> None:  # noqa: ARG002 - a listener's signature
        self.ready += 1

    def model_said(self, at: float, said: Translated) -> None:
        """Nothing that matters here."""

    def model_lost(self, at: float, detail: str) -> None:  # noqa: ARG002 - a listener's signature
        self.lost.append(detail)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    before = ModelLeg.open_count
    with ExitStack() as stack:
        yield stack
    until(lambda: ModelLeg.open_count == before)


def leg_over(lines: Lines, stack: ExitStack, attempts: int = 1) -> ModelLeg:
    leg = ModelLeg("CA1", cast("Connector", lines), {}, "+972", WAIT_S, attempts=attempts)
    stack.callback(leg.close)
    return leg


def configured(lines: Lines) -> Peer:
    """The peer, once it has the configuration and has confirmed it."""
    until(lambda: bool(lines.peers))
    peer = lines.peers[-1]
    peer.read_until(lambda: bool(peer.messages))
    peer.send(UPDATED)
    return peer


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

"""Guards the webhook: signed, tried again while that may help, never with another key, and given up in the end."""

import hashlib
import hmac
from collections.abc import Iterator

import pytest

from kav.after_call import webhook
from tests.after_call.receivers import Received, http_receiver

SECRET, BODY, KEY = "a-secret-of-the-webhook", b'{"event": "call.ended"}', "call.ended/CA1"
NOW = 1_763_850_000.9


@pytest.fixture
def receiver() -> Iterator[Received]:
    with http_receiver() as received:
        yield received


def deliver(receiver: Received, pauses: list[float]) -> None:
    webhook.deliver(f"{receiver.url}/hook?x=1", SECRET, BODY, KEY, sleep=pauses.append, clock=lambda: NOW + sum(pauses))


def test_the_receiver_can_tell_who_sent_it_and_when(receiver: Received) -> None:
    deliver(receiver, [])
    ((headers, body),) = receiver.requests
    stamp, _, digest = headers["Kav-Signature"].removeprefix("t=").partition(",v1=")
    expected = hmac.new(SECRET.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    assert (stamp, digest, body) == ("1763850000", expected, BODY)
    assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_a_passing_fault_is_tried_again_with_the_same_key_and_a_new_time(receiver: Received, status: int) -> None:
    receiver.statuses, pauses = [status, status], list[float]()
    deliver(receiver, pauses)
    assert pauses == [2, 8]
    assert [headers["Idempotency-Key"] for headers, _ in receiver.requests] == [KEY] * 3
    assert len({headers["Kav-Signature"] for headers, _ in receiver.requests}) == 3


def test_after_three_retries_it_is_given_up(receiver: Received) -> None:
    receiver.statuses, pauses = [500] * 9, list[float]()
    with pytest.raises(webhook.NotDelivered, match="it answered 500"):
        deliver(receiver, pauses)
    assert (len(receiver.requests), pauses) == (4, [2, 8, 30])


@pytest.mark.parametrize("status", [400, 404, 302, 410])
def test_a_refusal_for_good_is_not_tried_again_and_no_redirect_is_followed(receiver: Received, status: int) -> None:
    receiver.statuses = [status]
    with pytest.raises(webhook.NotDelivered, match=f"it answered {status}"):
        deliver(receiver, [])
    assert len(receiver.requests) == 1


def test_an_address_where_nobody_is_is_tried_again_too() -> None:
    pauses: list[float] = []
    with pytest.raises(webhook.NotDelivered, match="could not be reached"):
        webhook.deliver("http://127.0.0.1:1/", SECRET, BODY, KEY, sleep=pauses.append)
    assert len(pauses) == 3

"""Guards calls that Kav has placed and of which nothing is heard: Twilio is asked, and their records are complete."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gevent
import pytest

import stream_registry
from app import Kav
from call_placed import RING_S, Placed
from kav.call.aftermath import FIRST_RETRY_S, RETRY_FOR_S
from tests.in_process import API_TOKEN, kavs, with_twilio
from tests.local_servers import TwilioApi, twilio_api

DUE_S = RING_S + 60
ORDER = {"to": "+972501234567", "flow": "sales", "variables": {"name": "דנה"}, "anytime": True}
SID = "CA7"
"""What the stand-in calls every new call."""


@pytest.fixture
def api() -> Iterator[TwilioApi]:
    with twilio_api() as api:
        yield api


@pytest.fixture
def kav(api: TwilioApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kav]:
    """A Kav that has just placed a call."""
    monkeypatch.setattr(stream_registry, "_forgotten", {})  # every call of the stand-in's is called the same
    with kavs(tmp_path, with_twilio(api)) as start:
        app = start()
        placing = app.test_client().post("/calls", json=ORDER, headers={"Authorization": f"Bearer {API_TOKEN}"})
        assert placing.get_json().get("call_sid") == SID, placing.text
        yield app.extensions["kav"]


def placed(kav: Kav) -> Placed:
    assert kav.aftermath.placed is not None
    return kav.aftermath.placed


def fetches(api: TwilioApi) -> int:
    return sum(method == "GET" and path.endswith(f"/Calls/{SID}.json") for method, path, _, _ in api.seen)


def until(done: Callable[[], object]) -> None:
    with gevent.Timeout(10):
        while not done():
            gevent.sleep(0.01)


def row(kav: Kav) -> dict[str, Any]:
    return dict(kav.records.get_call(SID) or {})


@pytest.mark.parametrize("status", ["no-answer", "busy", "failed", "canceled", "completed"])
def test_a_call_of_which_no_callback_ever_comes_is_asked_for_and_its_record_completed(
    kav: Kav, api: TwilioApi, status: str
) -> None:
    api.calls[SID] = {"status": status, "duration": "0"}
    placed(kav).look(time.monotonic() + DUE_S - 1)
    assert fetches(api) == 0, "it may still ring"
    placed(kav).look(time.monotonic() + DUE_S + 1)
    until(lambda: row(kav).get("end_reason") and row(kav).get("terminal_status"))
    found = row(kav)
    assert (found["terminal_status"], found["end_reason"]) == (status, f"call_status_{status}")
    assert (found["direction"], found["ended_at"] is not None) == ("outbound", True)
    placed(kav).look(time.monotonic() + 2 * DUE_S)
    gevent.sleep(0.1)
    assert fetches(api) == 1


def test_a_call_that_was_heard_of_is_not_asked_for(kav: Kav, api: TwilioApi) -> None:
    kav.records.save_call_status(SID, "no-answer", 0, "outbound").wait(10)
    placed(kav).look(time.monotonic() + DUE_S + 1)
    gevent.sleep(0.2)
    assert fetches(api) == 0


def test_a_call_that_somebody_has_answered_is_its_entry_s_to_look_after(kav: Kav, api: TwilioApi) -> None:
    flow = kav.flows.outbound("sales")
    assert flow is not None
    stream_registry.register(SID, direction="outbound", flow=flow, from_number="", to_number="")
    placed(kav).look(time.monotonic())
    stream_registry.registry.clear()
    placed(kav).look(time.monotonic() + DUE_S + 1)
    gevent.sleep(0.2)
    assert fetches(api) == 0


def test_one_that_still_rings_or_cannot_be_asked_for_is_asked_for_again_but_not_for_ever(
    kav: Kav, api: TwilioApi, caplog: pytest.LogCaptureFixture
) -> None:
    api.calls[SID] = {"status": "ringing"}
    now = time.monotonic() + DUE_S + 1
    for number, seconds in enumerate((0, FIRST_RETRY_S, RETRY_FOR_S), start=1):
        placed(kav).look(now + seconds)
        until(partial(_answered, caplog, number))
        assert fetches(api) == number
    for times in (2, 3):
        placed(kav).look(now + times * RETRY_FOR_S)
        gevent.sleep(0.2)
    assert fetches(api) == 3
    assert row(kav)["end_reason"] is None


def _answered(caplog: pytest.LogCaptureFixture, times: int) -> bool:
    """Whether Kav has had so many answers that told nothing new."""
    return caplog.text.count("nothing was heard of a call that was placed") == times

"""The shared dict: `registry[sid]` is the very entry that everybody holds, and the first end wins."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

import stream_registry
from kav.call.flow import Flow
from stream_registry import Entry

SID = "CA" + "0" * 32
FLOW = Flow("default", "Kav", "inbound", (), ("he",), {"he": "שלום."}, {"he": "להתראות."})
OTHER = replace(FLOW, id="x", direction="outbound")


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    stream_registry.registry.clear()
    yield
    stream_registry.registry.clear()


def register(call_sid: str = SID) -> Entry:
    return stream_registry.register(
        call_sid, direction="inbound", flow=FLOW, from_number="+972501234567", to_number="+97231234567"
    )


def test_get_returns_the_very_dict_that_the_loop_polls() -> None:
    entry = register()
    assert stream_registry.get(SID) is entry
    assert stream_registry.registry[SID] is entry
    stream_registry.registry[SID]["ended"] = True
    assert entry["ended"]
    assert stream_registry.is_ended(SID)


def test_a_repeated_registration_gives_the_entry_that_exists() -> None:
    first = register()
    again = stream_registry.register(SID, direction="outbound", flow=OTHER, from_number="", to_number="")
    assert again is first
    assert (again["direction"], again["business"]) == ("inbound", "default")


def test_no_two_calls_share_a_token() -> None:
    tokens = {register(f"CA{number}")["token"] for number in range(100)}
    assert len(tokens) == 100
    assert all(len(token or "") >= 32 for token in tokens)


def test_a_call_that_is_not_known_reads_as_ended_and_is_not_created_by_an_end() -> None:
    assert stream_registry.is_ended(SID)
    assert stream_registry.get(SID) is None
    assert stream_registry.end(SID, "call_status_completed") is False
    assert stream_registry.registry == {}


def test_the_first_reason_wins_and_nothing_after_it_counts() -> None:
    entry = register()
    assert stream_registry.end(SID, "model_failed", after_stream="apology") is True
    ended_at = entry["ended_at"]
    assert stream_registry.end(SID, "call_status_completed") is False
    assert (entry["end_reason"], entry["after_stream"], entry["ended_at"]) == ("model_failed", "apology", ended_at)


def test_an_end_takes_the_token_back_so_that_no_late_stream_is_let_in() -> None:
    entry = register()
    stream_registry.end(SID, "call_status_canceled")
    assert entry["token"] is None


def test_the_flag_is_set_before_anybody_is_woken_and_they_are_woken_once() -> None:
    entry = register()
    seen: list[tuple[bool, str | None]] = []
    entry["wake"] = lambda: seen.append((entry["ended"], entry["end_reason"]))
    stream_registry.end(SID, "call_status_busy")
    stream_registry.end(SID, "call_status_busy")
    assert seen == [(True, "call_status_busy")]


def test_an_end_from_within_the_wake_is_no_second_end() -> None:
    entry = register()
    again: list[bool] = []
    entry["wake"] = lambda: again.append(stream_registry.end(SID, "error"))
    assert stream_registry.end(SID, "goodbye") is True
    assert (again, entry["end_reason"]) == ([False], "goodbye")


def test_removing_an_old_entry_leaves_the_one_that_took_its_place() -> None:
    old = register()
    stream_registry.remove(old)
    new = register()
    stream_registry.remove(old)
    assert stream_registry.get(SID) is new


def test_a_late_end_brings_a_removed_entry_not_back() -> None:
    entry = register()
    stream_registry.remove(entry)
    stream_registry.end(SID, "call_status_completed")
    assert SID not in stream_registry.registry
    assert not entry["ended"]


def test_only_calls_that_go_on_are_counted() -> None:
    for number in range(3):
        register(f"CA{number}")
    stream_registry.end("CA1", "caller_hung_up")
    assert stream_registry.live_count() == 2

"""The model's protocol: what Kav sends is what the vendor's types know, and whatever comes back is read or refused."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.realtime import (
    ConversationItemCreateEvent,
    ConversationItemDeleteEvent,
    ConversationItemRetrieveEvent,
    ConversationItemTruncateEvent,
    InputAudioBufferAppendEvent,
    RealtimeConversationItemFunctionCallOutput,
    RealtimeConversationItemSystemMessage,
    RealtimeConversationItemUserMessage,
    RealtimeSessionCreateRequest,
    ResponseCancelEvent,
    ResponseCreateEvent,
    SessionUpdateEvent,
)
from pydantic import BaseModel

import realtime_prompt_builder as prompt
from kav.call import events as ev
from kav.call.flow import Flow
from kav.flow_files import load_flows
from kav.settings import Settings
from kav.wire import realtime
from tests.rehearsal.model_client import assert_no_extra

CLIENT_EVENTS: dict[str, tuple[bytes, type[BaseModel]]] = {
    "append": (realtime.append_audio(b'"/////w=="'), InputAudioBufferAppendEvent),
    "system item": (realtime.message_item("item_kav1", "system", "«שלום»"), ConversationItemCreateEvent),
    "retold": (realtime.message_item("retold0", "assistant", "שלום"), ConversationItemCreateEvent),
    "typed line": (realtime.message_item("typed1", "user", "מה השעה?"), ConversationItemCreateEvent),
    "tool output": (realtime.tool_output("call_1", "12:00"), ConversationItemCreateEvent),
    "answer": (realtime.response_create("kav1", "answer"), ResponseCreateEvent),
    "phrase": (realtime.response_create("kav1", "phrase"), ResponseCreateEvent),
    "judge": (realtime.response_create("kav1", "judge"), ResponseCreateEvent),
    "speak": (realtime.response_create("kav1", "speak"), ResponseCreateEvent),
    "speak with tools": (
        realtime.response_create(
            "kav1",
            "speak",
            "may_call",
            [{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}}],
        ),
        ResponseCreateEvent,
    ),
    "answer without tools": (realtime.response_create("kav1", "answer", "no_more"), ResponseCreateEvent),
    "cancel": (realtime.response_cancel("resp_1"), ResponseCancelEvent),
    "truncate": (realtime.item_truncate("item_1", 1500), ConversationItemTruncateEvent),
    "delete": (realtime.item_delete("item_1"), ConversationItemDeleteEvent),
    "retrieve": (realtime.item_retrieve("item_1"), ConversationItemRetrieveEvent),
}


@pytest.mark.parametrize("name", CLIENT_EVENTS)
def test_every_client_event_is_known_to_the_vendors_types_down_to_its_last_key(name: str) -> None:
    encoded, model = CLIENT_EVENTS[name]
    assert_no_extra(model.model_validate_json(encoded, strict=True))


@pytest.mark.parametrize(
    ("encoded", "model"),
    [
        (CLIENT_EVENTS["system item"][0], RealtimeConversationItemSystemMessage),
        (CLIENT_EVENTS["typed line"][0], RealtimeConversationItemUserMessage),
        (CLIENT_EVENTS["tool output"][0], RealtimeConversationItemFunctionCallOutput),
    ],
)
def test_every_item_is_known_by_its_own_type(encoded: bytes, model: type[BaseModel]) -> None:
    assert_no_extra(model.model_validate(json.loads(encoded)["item"], strict=True))


@pytest.mark.parametrize("flow", load_flows().flows, ids=lambda flow: flow.id)
@pytest.mark.parametrize(("model", "reasons"), [("gpt-realtime-2.1", True), ("gpt-realtime-1.5", False)])
def test_the_session_is_known_to_the_vendors_types_and_reasons_only_where_it_may(
    model: str, reasons: bool, flow: Flow
) -> None:
    chosen = Settings(_env_file=None, OPENAI_REALTIME_MODEL=model)  # type: ignore[call-arg]  # pydantic-settings' own
    encoded = realtime.session_update(prompt.build_session(chosen, flow), model)
    SessionUpdateEvent.model_validate_json(encoded)
    session = RealtimeSessionCreateRequest.model_validate(json.loads(encoded)["session"], strict=True)
    assert_no_extra(session)
    assert (session.reasoning is not None) == reasons
    assert "rate" not in encoded.decode()


def response(**fields: object) -> dict[str, object]:
    return {"response": {"id": "resp_1", "metadata": {"kav": "kav1"}, "status": "completed", **fields}}


ITEM = {
    "id": "item_1",
    "type": "function_call",
    "status": "completed",
    "call_id": "call_1",
    "name": "t",
    "arguments": "{}",
}
PCMU = {"format": {"type": "audio/pcmu"}}
SERVER_EVENTS: dict[str, tuple[dict[str, Any], object]] = {
    "input_audio_buffer.speech_started": ({"item_id": "item_1", "audio_start_ms": 10}, ev.SpeechStarted(1.0)),
    "input_audio_buffer.committed": ({"item_id": "item_1"}, ev.TurnCommitted(1.0, "item_1")),
    "response.created": (response(status="in_progress"), ev.ResponseCreated(1.0, "resp_1", "kav1")),
    "response.done": (
        response(status="failed", status_details={"type": "failed", "error": {"code": "insufficient_quota"}}),
        ev.ResponseDone(1.0, "resp_1", "failed", "insufficient_quota"),
    ),
    "response.output_item.added": (
        {"response_id": "resp_1", "item": {"id": "item_1", "type": "message"}},
        ev.ItemAdded(1.0, "resp_1", "item_1", is_message=True),
    ),
    "response.output_item.done": (
        {"response_id": "resp_1", "item": ITEM},
        ev.ToolCalled(1.0, "resp_1", "item_1", "call_1", "t", "{}"),
    ),
    "response.output_audio.delta": (
        {"response_id": "resp_1", "item_id": "item_1", "delta": "/////w=="},
        ev.AudioDelta(1.0, "resp_1", "item_1", b'"/////w=="', 4),
    ),
    "response.output_audio.done": (
        {"response_id": "resp_1", "item_id": "item_1"},
        ev.ItemAudioDone(1.0, "resp_1", "item_1"),
    ),
    "error": (
        {"error": {"type": "invalid_request_error", "code": None, "message": "m", "event_id": "kav1"}},
        realtime.ErrorEvent(realtime.Failure("m", None, "invalid_request_error", "kav1")),
    ),
}


def encoded(kind: str, fields: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "event_id": "event_1", **fields}).encode()


@pytest.mark.parametrize("kind", SERVER_EVENTS)
def test_every_server_event_that_matters_is_translated(kind: str) -> None:
    fields, expected = SERVER_EVENTS[kind]
    assert realtime.translate(1.0, encoded(kind, fields)) == expected


@pytest.mark.parametrize(
    ("status", "details", "expected"),
    [
        ("completed", None, ("completed", "")),
        ("cancelled", {"type": "cancelled", "reason": "turn_detected"}, ("cancelled", "turn_detected")),
        ("incomplete", {"type": "incomplete", "reason": "content_filter"}, ("incomplete", "content_filter")),
        ("failed", {"type": "failed", "error": {"type": "server_error", "code": None}}, ("failed", "server_error")),
        ("failed", {"type": "failed", "error": None}, ("failed", "")),
        ("something new", None, ("failed", "")),
        ("failed", {"type": "failed", "error": {}}, ("failed", "")),
    ],
)
def test_how_a_response_ended_is_told(status: str, details: object, expected: tuple[str, str]) -> None:
    done = realtime.translate(1.0, encoded("response.done", response(status=status, status_details=details)))
    assert isinstance(done, ev.ResponseDone)
    assert (done.status, done.detail) == expected


@pytest.mark.parametrize(("changes"), [{"type": "message"}, {"status": "incomplete"}])
def test_only_a_completed_function_call_is_called(changes: dict[str, str]) -> None:
    done = encoded("response.output_item.done", {"response_id": "resp_1", "item": {**ITEM, **changes}})
    assert realtime.translate(1.0, done) is None


@pytest.mark.parametrize(("given", "mu_law"), [("audio/pcmu", True), ("audio/pcm", False)])
def test_the_confirmed_format_is_read_both_ways(given: str, mu_law: bool) -> None:
    session = {"session": {"audio": {"input": PCMU, "output": {"format": {"type": given}}}}}
    updated = realtime.translate(1.0, encoded("session.updated", session))
    assert isinstance(updated, realtime.SessionUpdated)
    assert updated.speaks_pcmu is mu_law


def test_an_event_that_means_nothing_to_a_call_is_passed_over() -> None:
    assert realtime.translate(1.0, b'{"type":"rate_limits.updated","rate_limits":[]}') is None
    assert realtime.translate(1.0, b'{"type":"response.telepathy.delta"}') is None


def test_only_a_limit_that_is_used_up_is_told_and_the_one_that_lasts_longest() -> None:
    def limits(*left: tuple[int, float]) -> bytes:
        told = [{"name": "tokens", "limit": 9, "remaining": n, "reset_seconds": s} for n, s in left]
        return encoded("rate_limits.updated", {"rate_limits": told})

    assert realtime.translate(1.0, limits((5, 60.0), (1, 0.5))) is None
    assert realtime.translate(1.0, limits((5, 60.0), (0, 2.5), (0, 0.5))) == realtime.RateLimited(2.5)
    nothing: list[Any] = [None, [{"remaining": None, "reset_seconds": None}], [{}]]
    for untold in nothing:
        assert realtime.translate(1.0, encoded("rate_limits.updated", {"rate_limits": untold})) is None


def test_a_delta_without_audio_means_nothing() -> None:
    delta = {"response_id": "resp_1", "item_id": "item_1", "delta": ""}
    assert realtime.translate(1.0, encoded("response.output_audio.delta", delta)) is None


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"null",
        b"[1]",
        b'"x"',
        b"{",
        b'{"type":1}',
        b"\xff",
        b'{"type":"\xff"}',
        b'{"type":"x","a":' + b"[" * 100_000,
    ],
)
def test_garbage_is_refused(garbage: bytes) -> None:
    with pytest.raises(realtime.MalformedEvent):
        realtime.translate(1.0, garbage)


def test_an_end_that_is_not_shaped_as_an_end_is_refused() -> None:
    with pytest.raises(realtime.MalformedEvent):
        realtime.translate(1.0, encoded("response.done", response(status="failed", status_details={"error": "x"})))


def read_or_refused(message: bytes) -> None:
    """Nothing but MalformedEvent comes out, and no event has less than no audio."""
    try:
        said = realtime.translate(1.0, message)
    except realtime.MalformedEvent:
        return
    if isinstance(said, ev.AudioDelta):
        assert said.length > 0


@given(st.binary())
def test_arbitrary_bytes_are_read_or_refused(message: bytes) -> None:
    read_or_refused(message)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(alphabet="ab=", max_size=5)
    | st.sampled_from(["=", "==", "AA"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet="ab", max_size=3), inner, max_size=3),
    max_leaves=5,
)


def paths(value: object, here: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    inside = (
        [path for key, element in value.items() for path in paths(element, (*here, key))]
        if isinstance(value, dict)
        else []
    )
    return [here, *inside] if here else inside


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
@given(st.sampled_from(sorted(SERVER_EVENTS)), st.data())
def test_an_event_with_one_thing_wrong_is_read_or_refused(kind: str, data: st.DataObject) -> None:
    event = json.loads(encoded(kind, SERVER_EVENTS[kind][0]))
    *way, last = data.draw(st.sampled_from(paths(event)[1:]))
    inner = event
    for key in way:
        inner = inner[key]
    if data.draw(st.booleans()):
        inner[last] = data.draw(json_values)
    else:
        del inner[last]
    read_or_refused(json.dumps(event).encode())

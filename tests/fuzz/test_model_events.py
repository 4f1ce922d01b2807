"""Guards what comes from the model: an event of the call's, nothing, or refused as malformed."""

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from kav.call import events
from kav.wire import realtime
from kav.wire.realtime import MalformedEvent, translate
from tests.fuzz import altered, dumped, fuzzed, mutated

ITEM = {"id": "item_1", "type": "function_call", "status": "completed", "name": "f", "call_id": "c", "arguments": "{}"}
USAGE = {
    "input_token_details": {"text_tokens": 1, "audio_tokens": 2, "cached_tokens_details": {"text_tokens": 1}},
    "output_token_details": {"text_tokens": 3, "audio_tokens": 4},
}
RESPONSE = {"id": "resp_1", "metadata": {"kav": "kav1"}, "status": "completed", "status_details": None, "usage": USAGE}
IDS = {"response_id": "resp_1", "item_id": "item_1"}
PCMU = {"format": {"type": "audio/pcmu"}}
HONEST: list[Any] = [
    {"type": "session.updated", "session": {"audio": {"input": PCMU, "output": PCMU}}},
    {"type": "error", "error": {"message": "m", "code": None, "type": "invalid_request_error", "event_id": "kav1"}},
    {"type": "input_audio_buffer.speech_started", "item_id": "item_1", "audio_start_ms": 5},
    {"type": "input_audio_buffer.committed", "item_id": "item_1"},
    {
        "type": "conversation.item.input_audio_transcription.completed",
        "item_id": "item_1",
        "transcript": "שלום",
        "usage": {"type": "duration", "seconds": 1.5},
    },
    {"type": "response.created", "response": RESPONSE},
    {"type": "response.done", "response": {**RESPONSE, "status": "failed", "status_details": {"error": {"code": "x"}}}},
    {"type": "response.output_item.added", "response_id": "resp_1", "item": {**ITEM, "type": "message"}},
    {"type": "response.output_item.done", "response_id": "resp_1", "item": ITEM},
    {"type": "response.output_audio.delta", **IDS, "delta": "////"},
    {"type": "response.output_audio.done", **IDS},
    {"type": "response.output_audio_transcript.delta", **IDS, "delta": "של"},
    {"type": "response.output_audio_transcript.done", **IDS, "transcript": "שלום"},
    {"type": "rate_limits.updated", "rate_limits": []},
]
ENCODED = [json.dumps(event).encode() for event in HONEST]


@fuzzed
@given(altered(HONEST).map(dumped) | mutated(ENCODED) | st.binary(max_size=300))
@example(b'{"type":"response.created","response":' + b"[" * 100_000)
@example(b'{"type":"response.output_audio_transcript.delta","response_id":"\\ud800","item_id":"","delta":"\\udc00"}')
@example(b'{"type":"response.done","response":{"id":"r","usage":{"output_token_details":{"text_tokens":1e400}}}}')
def test_an_event_is_read_or_refused(message: bytes) -> None:
    try:
        said = translate(1.0, message)
    except MalformedEvent:
        return
    assert said is None or isinstance(said, (*events.Event.__args__, realtime.SessionUpdated, realtime.ErrorEvent))


@fuzzed
@given(altered(HONEST).map(dumped))
def test_what_an_event_names_can_be_named_to_the_model_again(message: bytes) -> None:
    """Ids and words go back into what Kav sends, and into its records: they are text that has an encoding."""
    try:
        said = translate(1.0, message)
    except MalformedEvent:
        return
    for name in ("response_id", "item_id", "call_id", "name", "arguments", "text", "key", "detail"):
        value = getattr(said, name, None)
        if isinstance(value, str):
            realtime.response_cancel(value).decode()
            value.encode()

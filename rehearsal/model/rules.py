"""The rules that OpenAI's Realtime API holds its clients to: one `Rule` each, listed in docs/conformance.md.

`source` says how sure we are that the refusal and its code are OpenAI's: "documented" (reference or guide), "observed"
(seen in other projects' captures and issue threads), "unverified" (our best guess; build so that either outcome works).
"""

from dataclasses import dataclass
from typing import Any, Literal

Event = dict[str, Any]


@dataclass(frozen=True)
class Rule:
    """What is refused, with which error code (None: none is sent), by which topic of the vendor's documentation."""

    id: str
    refuses: str
    code: str | None
    topic: str
    source: Literal["documented", "observed", "unverified"]


class RuleError(Exception):
    """A client event broke a rule; becomes an `error` event and a violation."""

    def __init__(self, rule_id: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.rule = RULES[rule_id]
        self.message = message
        self.param = param


@dataclass(frozen=True)
class Violation:
    """A broken rule as a test reads it: `at` is monotonic seconds, `event` what the client sent, audio left out."""

    rule: str
    message: str
    event: Event
    at: float


_CONNECT, _UPDATE = "Realtime GA: WebSocket connection", "Realtime GA: session.update"
_EVENTS, _APPEND = "Realtime GA: client events", "Realtime GA: input_audio_buffer.append"
_COMMIT, _ITEM = "Realtime GA: input_audio_buffer.commit", "Realtime GA: conversation.item.create"
_TRUNCATE, _CREATE = "Realtime GA: conversation.item.truncate", "Realtime GA: response.create"
_CANCEL = "Realtime GA: response.cancel"

RULES = {
    rule.id: rule
    for rule in (
        Rule("key-missing", "no, or a wrong, `Authorization: Bearer` key", "invalid_api_key", _CONNECT, "observed"),
        Rule("model-missing", "no `?model=`", "missing_model", _CONNECT, "unverified"),
        Rule("beta-header", "`OpenAI-Beta`, whose API is gone", "beta_api_shape_disabled", _CONNECT, "unverified"),
        Rule("binary-frame", "a binary frame", "invalid_event", _EVENTS, "unverified"),
        Rule("malformed-json", "text that is no JSON object", "invalid_event", _EVENTS, "unverified"),
        Rule("unknown-type", "a missing or unknown event `type`", "invalid_value", _EVENTS, "observed"),
        Rule("unknown-key", "a key the API does not know, at any depth", "unknown_parameter", _EVENTS, "observed"),
        Rule("missing-parameter", "a required key left out", "missing_required_parameter", _EVENTS, "observed"),
        Rule(
            "invalid-value",
            "a value of the wrong type or outside its enumeration",
            "invalid_value",
            _EVENTS,
            "observed",
        ),
        Rule("webrtc-only", "`output_audio_buffer.clear` on a WebSocket", "invalid_event", _EVENTS, "unverified"),
        Rule("session-missing", "no `session` object", "missing_required_parameter", _UPDATE, "documented"),
        Rule("session-type", "`session` without its `type`", "missing_required_parameter", _UPDATE, "documented"),
        Rule("rate-on-pcmu", "`rate` beside audio/pcmu or audio/pcma", "unknown_parameter", _UPDATE, "observed"),
        Rule("model-change", "another `model` than the connection's", "invalid_value", _UPDATE, "unverified"),
        Rule(
            "max-output-tokens", '`max_output_tokens` outside 1..4096 or "inf"', "invalid_value", _UPDATE, "documented"
        ),
        Rule(
            "reasoning-unsupported",
            "`reasoning` or `parallel_tool_calls` on a model without",
            "invalid_value",
            _UPDATE,
            "observed",
        ),
        Rule("voice-change", "another voice once the model has spoken", "cannot_update_voice", _UPDATE, "observed"),
        Rule("two-modalities", "`output_modalities` of both text and audio", "invalid_value", _UPDATE, "documented"),
        Rule(
            "prompt-too-long",
            "instructions and tools beyond 16,384 tokens (estimated)",
            "invalid_value",
            _UPDATE,
            "unverified",
        ),
        Rule(
            "vad-range",
            "threshold outside 0..1, negative padding or silence, idle timeout outside 5..30 s",
            "invalid_value",
            _UPDATE,
            "documented",
        ),
        Rule("speed-range", "`speed` outside 0.25..1.5", "invalid_value", _UPDATE, "documented"),
        Rule(
            "transcription-option",
            "an option the transcription model does not take",
            "invalid_value",
            _UPDATE,
            "documented",
        ),
        Rule(
            "tool-without-name", "a function tool without a name", "missing_required_parameter", _UPDATE, "unverified"
        ),
        Rule(
            "tool-choice-unknown",
            "`tool_choice` naming a tool that is not there",
            "invalid_value",
            _CREATE,
            "unverified",
        ),
        Rule(
            "audio-before-pcmu",
            "audio before the session speaks audio/pcmu: it is parsed as 24 kHz PCM",
            None,
            _APPEND,
            "observed",
        ),
        Rule("append-base64", "`audio` that is not base64", "invalid_value", _APPEND, "unverified"),
        Rule("append-too-big", "more than 15 MiB in one append", "invalid_value", _APPEND, "documented"),
        Rule("commit-empty", "commit of an empty buffer", "input_audio_buffer_commit_empty", _COMMIT, "documented"),
        Rule(
            "commit-under-100ms", "commit of less than 100 ms", "input_audio_buffer_commit_empty", _COMMIT, "documented"
        ),
        Rule("item-id-reused", "an item `id` that is taken", "invalid_value", _ITEM, "unverified"),
        Rule("item-id-too-long", "an item `id` of more than 32 characters", "invalid_value", _ITEM, "unverified"),
        Rule(
            "previous-item-unknown",
            "`previous_item_id` that is not in the conversation",
            "item_not_found",
            _ITEM,
            "documented",
        ),
        Rule(
            "output-call-unknown", "function_call_output for an unknown `call_id`", "invalid_value", _ITEM, "unverified"
        ),
        Rule("output-twice", "a second function_call_output for one `call_id`", "invalid_value", _ITEM, "unverified"),
        Rule(
            "retrieve-unknown",
            "retrieve of an unknown item",
            "item_retrieve_invalid_item_id",
            "Realtime GA: conversation.item.retrieve",
            "observed",
        ),
        Rule(
            "delete-unknown",
            "delete of an unknown item",
            "item_not_found",
            "Realtime GA: conversation.item.delete",
            "documented",
        ),
        Rule("truncate-unknown", "truncate of an unknown item", "item_not_found", _TRUNCATE, "documented"),
        Rule(
            "truncate-not-model-audio",
            "truncate of anything but the model's spoken message",
            None,
            _TRUNCATE,
            "observed",
        ),
        Rule(
            "truncate-content-index",
            "a `content_index` that is no audio part",
            "invalid_value",
            _TRUNCATE,
            "unverified",
        ),
        Rule(
            "truncate-beyond",
            "`audio_end_ms` negative or beyond the item's length",
            "invalid_value",
            _TRUNCATE,
            "observed",
        ),
        Rule(
            "create-while-active",
            "a second response for the conversation",
            "conversation_already_has_active_response",
            _CREATE,
            "observed",
        ),
        Rule(
            "metadata-limits",
            "more than 16 pairs, keys over 64 or values over 512 characters",
            "invalid_value",
            _CREATE,
            "documented",
        ),
        Rule("reference-unknown", "an `item_reference` to an unknown item", "item_not_found", _CREATE, "unverified"),
        Rule("cancel-not-active", "cancel while no response runs", "response_cancel_not_active", _CANCEL, "observed"),
        Rule(
            "cancel-other",
            "cancel of another response than the one that runs",
            "response_cancel_not_active",
            _CANCEL,
            "unverified",
        ),
    )
}

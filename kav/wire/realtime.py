"""The OpenAI Realtime API (GA): its events as typed messages.

Decides nothing. Server events become the call's events (`kav.call.events`); the call's actions become client events.
Event names and fields are those of the Realtime API reference, "Client events" and "Server events"; unknown server
events are passed over, for the API may grow.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar, cast, get_args

import msgspec
from msgspec import Raw, Struct

from kav.call import events
from kav.call.actions import OwnTools, ReplyKind
from kav.wire.twilio_media import audio_bytes, base64_text

MAX_DELTA_BYTES: Final = 16 * 1024 * 1024
"""Base64 bytes of one audio delta; the API's own limit for audio in one event is 15 MiB."""

PCMU: Final = "audio/pcmu"

REASONING: Final = "gpt-realtime-2"
"""How the names of models begin that take `reasoning`; others refuse the whole configuration for it."""

Role = Literal["system", "user", "assistant"]


# Client events


def session_update(session: dict[str, Any], model: str) -> bytes:
    """Encode `session.update`; always the first event on a socket. A model that does not reason is not told how to."""
    if not model.startswith(REASONING):
        session = {name: value for name, value in session.items() if name != "reasoning"}
    return msgspec.json.encode({"type": "session.update", "event_id": "kav_session", "session": session})


def append_audio(payload: bytes) -> bytes:
    """Encode `input_audio_buffer.append`; `payload` is a quoted base64 string."""
    return b'{"type":"input_audio_buffer.append","audio":' + payload + b"}"


def message_item(item_id: str, role: Role, text: str) -> bytes:
    """Encode `conversation.item.create` of a message.

    Orders travel as appended items of the system; what the caller has typed, and what was said on a connection that is
    lost, as those of the user and the assistant.
    """
    content = [{"type": "output_text" if role == "assistant" else "input_text", "text": text}]
    item = {"id": item_id, "type": "message", "role": role, "content": content}
    return msgspec.json.encode({"type": "conversation.item.create", "event_id": item_id, "item": item})


_RESPONSES: Final[dict[ReplyKind, dict[str, Any]]] = {
    "answer": {},
    "phrase": {"tool_choice": "none"},
    "speak": {"tool_choice": "none"},
    "judge": {"tool_choice": "required", "output_modalities": ["text"]},
}


def response_create(
    key: str, kind: ReplyKind, allowed: OwnTools = "as_kind", own_tools: Sequence[dict[str, Any]] = ()
) -> bytes:
    """Encode `response.create`; `key` comes back in the response's metadata, and as event_id in an error.

    `own_tools` are the schemas of the business's own tools; they stand in the place of the session's where `allowed`.
    """
    tools: dict[OwnTools, dict[str, Any]] = {
        "as_kind": {},
        "may_call": {"tools": list(own_tools), "tool_choice": "auto"},
        "no_more": {"tool_choice": "none"},
    }
    response = {"metadata": {"kav": key}, **_RESPONSES[kind], **tools[allowed]}
    return msgspec.json.encode({"type": "response.create", "event_id": key, "response": response})


def response_cancel(response_id: str) -> bytes:
    """Encode `response.cancel` of one response, so that it can never hit the next one."""
    return msgspec.json.encode({"type": "response.cancel", "response_id": response_id})


def item_truncate(item_id: str, audio_end_ms: int) -> bytes:
    """Encode `conversation.item.truncate`: the model remembers `audio_end_ms` of the item."""
    return msgspec.json.encode(
        {"type": "conversation.item.truncate", "item_id": item_id, "content_index": 0, "audio_end_ms": audio_end_ms}
    )


def item_delete(item_id: str) -> bytes:
    """Encode `conversation.item.delete`."""
    return msgspec.json.encode({"type": "conversation.item.delete", "item_id": item_id})


def item_retrieve(item_id: str) -> bytes:
    """Encode `conversation.item.retrieve`, which changes nothing: a way to ask whether the model is still there."""
    return msgspec.json.encode({"type": "conversation.item.retrieve", "item_id": item_id})


def tool_call(call_id: str, name: str, arguments: str) -> bytes:
    """Encode `conversation.item.create` of a function call that was made on a connection which is lost."""
    item = {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}
    return msgspec.json.encode({"type": "conversation.item.create", "item": item})


def tool_output(call_id: str, output: str) -> bytes:
    """Encode `conversation.item.create` of a function call's output."""
    item = {"type": "function_call_output", "call_id": call_id, "output": output}
    return msgspec.json.encode({"type": "conversation.item.create", "item": item})


# Server events


class _Envelope(Struct, gc=False):
    type: str


class Format(Struct):
    """An audio format, e.g. audio/pcmu."""

    type: str = ""


class _Audio(Struct):
    format: Format = msgspec.field(default_factory=Format)


class _AudioBothWays(Struct):
    input: _Audio = msgspec.field(default_factory=_Audio)
    output: _Audio = msgspec.field(default_factory=_Audio)


class _Session(Struct):
    audio: _AudioBothWays = msgspec.field(default_factory=_AudioBothWays)


@dataclass(frozen=True, slots=True)
class RateLimited:
    """`rate_limits.updated` with a limit that is used up; `for_s`: until there is more of it."""

    for_s: float


class SessionUpdated(Struct):
    """`session.updated`: the whole configuration in force."""

    session: _Session

    @property
    def speaks_pcmu(self) -> bool:
        """Whether audio is mu-law both ways; else the caller's voice would be read as something else."""
        return self.session.audio.input.format.type == self.session.audio.output.format.type == PCMU


class Failure(Struct):
    """What an `error` event says."""

    message: str = ""
    code: str | None = None
    type: str | None = None
    event_id: str | None = None


class ErrorEvent(Struct):
    """`error`: a request was refused; most leave the session alive."""

    error: Failure


class _ItemEvent(Struct):
    item_id: str = ""


class _StatusError(Struct):
    code: str | None = None
    type: str | None = None


class _StatusDetails(Struct):
    reason: str | None = None
    error: _StatusError | None = None


class _Tokens(Struct):
    text_tokens: int = 0
    audio_tokens: int = 0


class _InputTokens(Struct):
    text_tokens: int = 0
    audio_tokens: int = 0
    cached_tokens_details: _Tokens | None = None


class _Usage(Struct):
    input_token_details: _InputTokens | None = None
    output_token_details: _Tokens | None = None

    def summed(self) -> events.Usage:
        """The tokens by kind; cached ones are part of the input."""
        given = self.input_token_details or _InputTokens()
        cached = given.cached_tokens_details or _Tokens()
        made = self.output_token_details or _Tokens()
        return events.Usage(
            responses=1,
            input_text=given.text_tokens,
            input_audio=given.audio_tokens,
            cached_text=cached.text_tokens,
            cached_audio=cached.audio_tokens,
            output_text=made.text_tokens,
            output_audio=made.audio_tokens,
        )


class _ResponseBody(Struct):
    id: str
    metadata: dict[str, str] | None = None
    status: str = "completed"
    status_details: _StatusDetails | None = None
    usage: _Usage | None = None

    @property
    def detail(self) -> str:
        """The reason of a status, or the code of its error."""
        details = self.status_details or _StatusDetails()
        error = details.error or _StatusError()
        return error.code or error.type or details.reason or ""


class _ResponseEvent(Struct):
    response: _ResponseBody


class _OutputItem(Struct):
    id: str = ""
    type: str = ""
    status: str = ""
    name: str = ""
    call_id: str = ""
    arguments: str = ""


class _RateLimit(Struct):
    remaining: float | None = None
    reset_seconds: float | None = None


class _RateLimits(Struct):
    rate_limits: list[_RateLimit] | None = None


class _OutputItemEvent(Struct):
    response_id: str
    item: _OutputItem


class _AudioDelta(Struct, gc=False):
    response_id: str
    item_id: str
    delta: Raw


class _AudioDone(Struct):
    response_id: str
    item_id: str


class _BotWords(Struct):
    response_id: str
    item_id: str
    delta: str = ""
    transcript: str = ""


class _Transcription(Struct):
    seconds: float | None = None


class _CallerWords(Struct):
    item_id: str
    transcript: str = ""
    usage: _Transcription | None = None


class MalformedEvent(ValueError):
    """A server event that cannot be read; it is passed over and counted."""


Said = events.Event | SessionUpdated | ErrorEvent | None
"""What a call is told of; None: nothing that means anything to it."""

Translated = Said | RateLimited
_Shape = TypeVar("_Shape")
_Translator = Callable[[float, bytes], Translated]


def _of(shape: type[_Shape], translate: Callable[[float, _Shape], Translated]) -> _Translator:
    decode = msgspec.json.Decoder(shape).decode
    return lambda at, message: translate(at, decode(message))


def _speech_started(at: float, _: _ItemEvent) -> Translated:
    return events.SpeechStarted(at)


def _committed(at: float, event: _ItemEvent) -> Translated:
    return events.TurnCommitted(at, event.item_id)


def _created(at: float, event: _ResponseEvent) -> Translated:
    return events.ResponseCreated(at, event.response.id, (event.response.metadata or {}).get("kav"))


def _rate_limits(at: float, event: _RateLimits) -> Translated:  # noqa: ARG001 - as its neighbours
    """Only a limit that is used up says anything."""
    used_up = [limit for limit in event.rate_limits or () if limit.remaining is not None and limit.remaining <= 0]
    for_s = max((limit.reset_seconds or 0.0 for limit in used_up), default=0.0)
    return RateLimited(for_s) if for_s > 0 else None


def _done(at: float, event: _ResponseEvent) -> Translated:
    body = event.response
    status = body.status if body.status in get_args(events.ResponseStatus) else "failed"
    usage = body.usage.summed() if body.usage is not None else None
    return events.ResponseDone(at, body.id, cast("events.ResponseStatus", status), body.detail, usage)


def _item_added(at: float, event: _OutputItemEvent) -> Translated:
    return events.ItemAdded(at, event.response_id, event.item.id, is_message=event.item.type == "message")


def _item_done(at: float, event: _OutputItemEvent) -> Translated:
    """Only a completed function call counts: those of interrupted responses come with partial JSON."""
    item = event.item
    if item.type != "function_call" or item.status != "completed":
        return None
    return events.ToolCalled(at, event.response_id, item.id, item.call_id, item.name, item.arguments)


def _audio_delta(at: float, event: _AudioDelta) -> Translated:
    payload = base64_text(event.delta, MAX_DELTA_BYTES)
    if payload is None and bytes(event.delta) == b'""':
        return None
    if payload is None:
        raise MalformedEvent("audio delta that is not base64")
    return events.AudioDelta(at, event.response_id, event.item_id, payload, audio_bytes(payload))


def _audio_done(at: float, event: _AudioDone) -> Translated:
    return events.ItemAudioDone(at, event.response_id, event.item_id)


def _bot_words(at: float, event: _BotWords) -> Translated:
    return events.BotWords(at, event.response_id, event.item_id, event.delta)


def _all_bot_words(at: float, event: _BotWords) -> Translated:
    return events.BotWords(at, event.response_id, event.item_id, event.transcript, whole=True)


def _caller_words(at: float, event: _CallerWords) -> Translated:
    usage = event.usage or _Transcription()
    return events.CallerWords(at, event.item_id, event.transcript, usage.seconds)


def _as_it_is(_: float, event: SessionUpdated | ErrorEvent) -> Translated:
    return event


_translators: Final[dict[str, _Translator]] = {
    "session.updated": _of(SessionUpdated, _as_it_is),
    "error": _of(ErrorEvent, _as_it_is),
    "input_audio_buffer.speech_started": _of(_ItemEvent, _speech_started),
    "input_audio_buffer.committed": _of(_ItemEvent, _committed),
    "conversation.item.input_audio_transcription.completed": _of(_CallerWords, _caller_words),
    "response.created": _of(_ResponseEvent, _created),
    "rate_limits.updated": _of(_RateLimits, _rate_limits),
    "response.done": _of(_ResponseEvent, _done),
    "response.output_item.added": _of(_OutputItemEvent, _item_added),
    "response.output_item.done": _of(_OutputItemEvent, _item_done),
    "response.output_audio.delta": _of(_AudioDelta, _audio_delta),
    "response.output_audio.done": _of(_AudioDone, _audio_done),
    "response.output_audio_transcript.delta": _of(_BotWords, _bot_words),
    "response.output_audio_transcript.done": _of(_BotWords, _all_bot_words),
}
_type_of: Final = msgspec.json.Decoder(_Envelope).decode


def translate(at: float, message: bytes) -> Translated:
    """Return what a server event means to the call, or None for one that means nothing to it.

    Raises:
        MalformedEvent: not JSON, binary, or a known event without its fields.
    """
    try:
        translator = _translators.get(_type_of(message).type)
        return translator(at, message) if translator is not None else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedEvent(str(error)) from None

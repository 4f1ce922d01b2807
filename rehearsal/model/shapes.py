"""Is this client event shaped as the API's reference says? The vendor's own types (`openai.types.realtime`) answer.

Those types accept unknown keys, coerce nothing we would want coerced, and report a union's every failure; hence three
additions: dispatch on `type` first, strict validation, and a walk that finds every key the types do not know.
"""

from typing import Any

from openai.types.realtime import (
    ConversationItemCreateEvent,
    ConversationItemDeleteEvent,
    ConversationItemRetrieveEvent,
    ConversationItemTruncateEvent,
    InputAudioBufferAppendEvent,
    InputAudioBufferClearEvent,
    InputAudioBufferCommitEvent,
    OutputAudioBufferClearEvent,
    RealtimeConversationItemAssistantMessage,
    RealtimeConversationItemFunctionCall,
    RealtimeConversationItemFunctionCallOutput,
    RealtimeConversationItemSystemMessage,
    RealtimeConversationItemUserMessage,
    RealtimeSessionCreateRequest,
    ResponseCancelEvent,
    ResponseCreateEvent,
    SessionUpdateEvent,
)
from pydantic import BaseModel, ValidationError

from rehearsal.model.rules import Event, RuleError

CLIENT_EVENTS: dict[str, type[BaseModel]] = {
    "session.update": SessionUpdateEvent,
    "input_audio_buffer.append": InputAudioBufferAppendEvent,
    "input_audio_buffer.commit": InputAudioBufferCommitEvent,
    "input_audio_buffer.clear": InputAudioBufferClearEvent,
    "output_audio_buffer.clear": OutputAudioBufferClearEvent,
    "conversation.item.create": ConversationItemCreateEvent,
    "conversation.item.retrieve": ConversationItemRetrieveEvent,
    "conversation.item.truncate": ConversationItemTruncateEvent,
    "conversation.item.delete": ConversationItemDeleteEvent,
    "response.create": ResponseCreateEvent,
    "response.cancel": ResponseCancelEvent,
}
_ITEMS: dict[tuple[object, object], type[BaseModel]] = {
    ("message", "system"): RealtimeConversationItemSystemMessage,
    ("message", "user"): RealtimeConversationItemUserMessage,
    ("message", "assistant"): RealtimeConversationItemAssistantMessage,
    ("function_call", None): RealtimeConversationItemFunctionCall,
    ("function_call_output", None): RealtimeConversationItemFunctionCallOutput,
}
_FORMATS_WITHOUT_RATE = ("audio/pcmu", "audio/pcma")


def check_shape(event: Event) -> None:
    """Raise the RuleError that the API's reference has for this event's shape; semantics are checked elsewhere."""
    kind = event.get("type")
    if not isinstance(kind, str) or kind not in CLIENT_EVENTS:
        raise RuleError(
            "unknown-type", f"Invalid value: {kind!r}. Supported values are: {', '.join(CLIENT_EVENTS)}.", "type"
        )
    if kind == "session.update":
        _check_session(event)
    elif kind == "conversation.item.create":
        _check_item(event)
    elif kind == "response.create":
        event = _without_references(event)
    _check_rate(event)
    _validate(CLIENT_EVENTS[kind], event, ())


def _check_session(event: Event) -> None:
    """The session by its own type, for the union with transcription sessions would report both."""
    session = event.get("session")
    if not isinstance(session, dict):
        raise RuleError("session-missing", "Missing required parameter: 'session'.", "session")
    if session.get("type") != "realtime":
        raise RuleError("session-type", "Missing required parameter: 'session.type'.", "session.type")
    _check_rate(event)
    _validate(RealtimeSessionCreateRequest, session, ("session",))


def _check_item(event: Event) -> None:
    item = event.get("item")
    if not isinstance(item, dict):
        raise RuleError("missing-parameter", "Missing required parameter: 'item'.", "item")
    model = _ITEMS.get((item.get("type"), item.get("role")))
    if model is None:
        message = f"Invalid value: no item has type {item.get('type')!r} with role {item.get('role')!r}."
        raise RuleError("invalid-value", message, "item.type")
    _validate(model, item, ("item",))


def _without_references(event: Event) -> Event:
    """`item_reference` is documented, but missing in the package's response types."""
    response = event.get("response")
    items = response.get("input") if isinstance(response, dict) else None
    if not isinstance(response, dict) or not isinstance(items, list):
        return event
    kept = [item for item in items if not (isinstance(item, dict) and item.get("type") == "item_reference")]
    return {**event, "response": {**response, "input": kept}}


def _check_rate(value: object, path: tuple[str, ...] = ()) -> None:
    if isinstance(value, list):
        for index, element in enumerate(value):
            _check_rate(element, (*path, str(index)))
    if not isinstance(value, dict):
        return
    if value.get("type") in _FORMATS_WITHOUT_RATE and "rate" in value:
        param = _dotted((*path, "rate"))
        raise RuleError("rate-on-pcmu", f"Unknown parameter: '{param}'.", param)
    for key, element in value.items():
        _check_rate(element, (*path, key))


def _validate(model: type[BaseModel], data: Event, at: tuple[str, ...]) -> None:
    try:
        validated = model.model_validate(data, strict=True)
    except ValidationError as error:
        raise _as_rule(error, data, at) from None
    unknown = _unknown_key(validated, at)
    if unknown is not None:
        raise RuleError("unknown-key", f"Unknown parameter: '{unknown}'.", unknown)


def _as_rule(error: ValidationError, data: Event, at: tuple[str, ...]) -> RuleError:
    """Of all failures, the one deepest in the data: in a union it belongs to the member that was meant."""
    failures = [(_real_path(data, failure["loc"]), failure) for failure in error.errors(include_url=False)]
    path, failure = max(failures, key=lambda pair: len(pair[0]))
    param = _dotted((*at, *path))
    if failure["type"] == "missing":
        return RuleError("missing-parameter", f"Missing required parameter: '{param}'.", param)
    return RuleError("invalid-value", f"Invalid value for '{param}': {failure['msg']}.", param)


def _real_path(data: object, loc: tuple[int | str, ...]) -> tuple[str, ...]:
    """pydantic's location without the names of union members, which are no keys of the data."""
    path: list[str] = []
    for part in loc:
        inside = data.keys() if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()
        if part in inside:
            data = data[part]  # type: ignore[index]  # `inside` says that it is a list or a dictionary
        elif not isinstance(data, dict) or part != loc[-1]:
            continue
        path.append(str(part))
    return tuple(path)


def _unknown_key(value: Any, path: tuple[str, ...]) -> str | None:  # noqa: ANN401 - walks whatever the types hold
    if isinstance(value, list):
        pairs = [(str(index), element) for index, element in enumerate(value)]
    elif isinstance(value, BaseModel):
        for extra in value.model_extra or ():
            return _dotted((*path, extra))
        pairs = [(name, getattr(value, name)) for name in value.model_fields_set]
    else:
        return None
    return next((found for name, element in pairs if (found := _unknown_key(element, (*path, name)))), None)


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(path)

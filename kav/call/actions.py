"""What Kav does about what happened, as values: `CallSession.handle` returns them in the order of the wire."""

from dataclasses import dataclass
from typing import Literal

from kav.call.ruling import Directive

EndReason = Literal[
    "caller_hung_up",  # Twilio's stop
    "call_status_completed",
    "call_status_busy",
    "call_status_no-answer",
    "call_status_failed",
    "call_status_canceled",
    "goodbye",  # the closing sentence was heard
    "transferred",  # handed to a human
    "silence",  # the caller said nothing for too long
    "operator",  # whoever runs Kav ended it, in the console or over the API
    "machine",  # an answering machine or a fax took an outbound call
    "socket_lost",  # the media socket died and Twilio did not come back
    "no_media",  # Twilio sent no frame for too long
    "write_stalled",  # a peer stopped reading
    "max_duration",  # the hard limit
    "model_failed",  # the model is lost, stalled or refuses
    "no_stream",  # the media socket never came
    "refused",  # a limit is reached: words, and no model
    "shutdown",  # the process is told to stop
    "process_died",  # the process was gone before the call's end was written down
    "error",  # Kav's own fault
]

RESUMABLE: frozenset[EndReason] = frozenset({"socket_lost", "no_media", "write_stalled"})
"""Ways in which a *stream* is lost although nobody ended the *call*: it may get one fresh stream."""


@dataclass(frozen=True, slots=True)
class PlayAudio:
    """Forward audio to the caller."""

    payload: bytes
    generation: int


@dataclass(frozen=True, slots=True)
class SendMark:
    """Ask Twilio to say when everything before this has been played."""

    name: str
    generation: int


@dataclass(frozen=True, slots=True)
class ClearPlayback:
    """Silence, now: drop what Twilio holds and what is queued of generations before `generation`."""

    generation: int


ReplyKind = Literal["phrase", "answer", "judge", "speak"]

OwnTools = Literal["as_kind", "may_call", "no_more"]
"""Which tools a response may call: those that its kind brings; the business's own; none, for it has called enough."""


@dataclass(frozen=True, slots=True)
class RequestResponse:
    """Ask the model for a response. `key` comes back in `ResponseCreated`.

    kind "phrase": the fixed phrase `phrase`, word for word, without tools; its exact words are `text`, or those that
    the shell knows by its id. "answer": to what was said, with tools. "judge": one tool call about the caller's turn,
    without a sound. "speak": in free words, without tools unless `tools` allows them, what `directive` says.
    """

    key: str
    kind: ReplyKind
    phrase: str = ""
    text: str = ""
    language: str = ""
    directive: Directive | None = None
    tools: OwnTools = "as_kind"


@dataclass(frozen=True, slots=True)
class AddCallerText:
    """Let the model know what the caller has typed."""

    item_id: str
    text: str


@dataclass(frozen=True, slots=True)
class CancelResponse:
    """Stop a response that nobody may hear."""

    response_id: str


@dataclass(frozen=True, slots=True)
class TruncateItem:
    """Let the model remember only what was heard of an item."""

    item_id: str
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class DeleteItem:
    """Let the model forget an item of which nothing was heard."""

    item_id: str


@dataclass(frozen=True, slots=True)
class RunTool:
    """Run a tool beside the media path; its result comes back as `ToolFinished`."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class SendToolOutput:
    """Give the model a tool's output."""

    call_id: str
    output: str


@dataclass(frozen=True, slots=True)
class ProbeModel:
    """Ask the model for something harmless, to learn whether it is still there: the phrase item of `key`."""

    key: str


@dataclass(frozen=True, slots=True)
class ReconnectModel:
    """The model is lost and the call is not: connect once more, and retell what was said."""


@dataclass(frozen=True, slots=True)
class EndCall:
    """End the call. `apologise`: the caller hears an apology from Twilio, for the model cannot speak."""

    reason: EndReason
    apologise: bool = False


Action = (
    PlayAudio
    | SendMark
    | ClearPlayback
    | RequestResponse
    | AddCallerText
    | CancelResponse
    | TruncateItem
    | DeleteItem
    | RunTool
    | SendToolOutput
    | ProbeModel
    | ReconnectModel
    | EndCall
)

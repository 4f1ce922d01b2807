"""What can happen to a call, as values: `CallSession.handle` takes one of these. `at` is monotonic seconds.

Protocol facts are those of Twilio Media Streams and of the OpenAI Realtime API (GA); each event names its source.
"""

from dataclasses import dataclass
from typing import Literal

Direction = Literal["inbound", "outbound"]


@dataclass(frozen=True, slots=True)
class StreamStarted:
    """Twilio's `start`: the caller is on the line. The direction is read here, once, and never changes."""

    at: float
    direction: Direction = "inbound"


@dataclass(frozen=True, slots=True)
class ModelReady:
    """The model confirmed its configuration (`session.updated` with audio/pcmu both ways)."""

    at: float


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """`input_audio_buffer.speech_started`: the caller speaks."""

    at: float


@dataclass(frozen=True, slots=True)
class TurnCommitted:
    """`input_audio_buffer.committed`: the caller's turn is over."""

    at: float
    item_id: str


@dataclass(frozen=True, slots=True)
class ResponseCreated:
    """`response.created`; `key` is what Kav put into the request's metadata, None for one it did not ask for."""

    at: float
    response_id: str
    key: str | None


@dataclass(frozen=True, slots=True)
class ItemAdded:
    """`response.output_item.added`."""

    at: float
    response_id: str
    item_id: str
    is_message: bool


@dataclass(frozen=True, slots=True)
class AudioDelta:
    """`response.output_audio.delta`: `payload` is opaque (base64 in JSON, as it came), `length` its mu-law bytes."""

    at: float
    response_id: str
    item_id: str
    payload: bytes
    length: int


@dataclass(frozen=True, slots=True)
class ItemAudioDone:
    """`response.output_audio.done`: the item has no more audio."""

    at: float
    response_id: str
    item_id: str


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """`response.output_item.done` of a function call whose status is `completed`; `arguments` is a JSON string."""

    at: float
    response_id: str
    item_id: str
    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """A tool that Kav ran has come back with `output`; `ok`: it did what it was asked."""

    at: float
    call_id: str
    output: str
    ok: bool = True


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of the model's responses (Realtime API, `response.done`, `usage`); what was cached is input too."""

    responses: int = 0
    input_text: int = 0
    input_audio: int = 0
    cached_text: int = 0
    cached_audio: int = 0
    output_text: int = 0
    output_audio: int = 0

    def plus(self, other: "Usage") -> "Usage":
        """Return the sum of both."""
        names = self.__dataclass_fields__
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in names})


ResponseStatus = Literal["completed", "cancelled", "incomplete", "failed"]


@dataclass(frozen=True, slots=True)
class ResponseDone:
    """`response.done`; `detail` is the reason or error code of a status other than completed."""

    at: float
    response_id: str
    status: ResponseStatus
    detail: str = ""
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class RequestRefused:
    """`error` in answer to one of Kav's requests: `request` is the event_id that Kav gave it, if it is echoed."""

    at: float
    code: str
    request: str | None


@dataclass(frozen=True, slots=True)
class ModelLost:
    """The model cannot go on: not connected in time, connection closed, session expired, quota, garbage."""

    at: float
    detail: str


@dataclass(frozen=True, slots=True)
class BotWords:
    """`response.output_audio_transcript.delta`, or the whole of an item's words (`.done`)."""

    at: float
    response_id: str
    item_id: str
    text: str
    whole: bool = False


@dataclass(frozen=True, slots=True)
class CallerWords:
    """`conversation.item.input_audio_transcription.completed`: what the transcriber made of a turn, some time later."""

    at: float
    item_id: str
    text: str
    seconds: float | None = None
    """Of speech that the transcriber counts; None: it does not tell what it took, or counts otherwise."""


@dataclass(frozen=True, slots=True)
class CallerTyped:
    """A line that the caller has typed instead of saying it, in a browser; `item_id` is Kav's own."""

    at: float
    item_id: str
    text: str


@dataclass(frozen=True, slots=True)
class KeyPressed:
    """Twilio's `dtmf`: 0-9, * or #."""

    at: float
    digit: str


@dataclass(frozen=True, slots=True)
class MarkEchoed:
    """Twilio's `mark`: everything before it was played, or cleared."""

    at: float
    name: str


@dataclass(frozen=True, slots=True)
class HubLate:
    """The process stood still for `by_s` seconds; that time counts against nobody."""

    at: float
    by_s: float


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The process is about to stop: the caller is told so, and that is the last that they hear."""

    at: float


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passes: deadlines are looked at."""

    at: float


@dataclass(frozen=True, slots=True)
class Ended:
    """The call is over, whoever decided it: nothing may follow."""

    at: float


Event = (
    StreamStarted
    | ModelReady
    | SpeechStarted
    | TurnCommitted
    | ResponseCreated
    | ItemAdded
    | AudioDelta
    | ItemAudioDone
    | ToolCalled
    | ToolFinished
    | ResponseDone
    | RequestRefused
    | ModelLost
    | BotWords
    | CallerWords
    | CallerTyped
    | KeyPressed
    | MarkEchoed
    | HubLate
    | Shutdown
    | Tick
    | Ended
)

"""One stream of a call, decided: events in, actions out, in the order of the wire.

The one owner of `response.create`: a reply is *owed* first and requested when nothing stands in its way, that is when
the caller is not speaking, no response is under way and no tool is running. So there is never a second create, and
every committed turn of the caller gets exactly one reply.

The one owner of silence: when the caller speaks, what was on its way to them is cleared, the response under way is
*dead* (nothing of it is forwarded any more, also if it was asked for and not yet created), and the model's memory is
cut to what was heard.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from kav.call.actions import (
    Action,
    CancelResponse,
    ClearPlayback,
    DeleteItem,
    EndCall,
    PlayAudio,
    ProbeModel,
    ReplyKind,
    RequestResponse,
    RunTool,
    SendMark,
    SendToolOutput,
    TruncateItem,
)
from kav.call.events import (
    AudioDelta,
    Direction,
    Ended,
    Event,
    HubLate,
    ItemAdded,
    ItemAudioDone,
    MarkEchoed,
    ModelLost,
    ModelReady,
    RequestRefused,
    ResponseCreated,
    ResponseDone,
    SpeechStarted,
    StreamStarted,
    Tick,
    ToolCalled,
    ToolFinished,
    TurnCommitted,
)
from kav.call.playhead import Playhead

LIMIT_NOTICE_S: Final = 60.0
"""How long before the hard limit the caller is told of it: enough for a last question."""

ATTEMPTS: Final = 2
"""A reply that failed is asked for once more; a third silence is longer than a caller waits."""

ANOTHER_ACTIVE_RETRY_S: Final = 0.25
"""Pause before asking again when the model says that another response, unknown to Kav, is under way."""

FATAL_CODES: Final = frozenset(
    {
        "session_expired",
        "invalid_api_key",
        "insufficient_quota",
        "billing_hard_limit_reached",
        "account_deactivated",
    }
)
"""Errors after which the model will never answer in this session (Realtime API, error codes)."""

ANOTHER_ACTIVE: Final = "conversation_already_has_active_response"


@dataclass(frozen=True, slots=True)
class CallRules:
    """What a call may last, and how long the model may be quiet."""

    max_call_s: float
    reply_timeout_s: float
    opening: str = "greeting"
    """Id of the fixed phrase that opens the stream."""


@dataclass(slots=True)
class _Reply:
    """Something the bot owes the caller."""

    kind: ReplyKind
    phrase: str = ""
    attempts: int = 0
    blocked_at: float | None = None
    """When the model first said that another response stands in its way."""


@dataclass(slots=True)
class _Response:
    """A reply that was requested: first only a key, then a response of the model's."""

    key: str
    reply: _Reply
    progress_at: float
    response_id: str | None = None
    dead: bool = False
    """The caller spoke: nothing of it may be heard."""
    spoke: bool = False
    called_tools: bool = False
    unheard: list[str] = field(default_factory=list)
    """Message items that were announced and have no audio yet."""


class CallSession:
    """Decides for one stream; holds no socket, no clock and no words.

    Every method is free of I/O, so that a transition is atomic between greenlets.
    """

    def __init__(self, rules: CallRules) -> None:
        self.playhead = Playhead()
        self._rules = rules
        self._direction: Direction | None = None
        self._started_at: float | None = None
        self._model_seen_at: float | None = None
        """When the model last said anything; None until it is ready."""
        self._listening = False
        self._over = False
        self._owed: list[_Reply] = []
        self._response: _Response | None = None
        self._foreign: set[str] = set()
        self._tools: set[str] = set()
        self._tools_done: set[str] = set()
        self._requests = 0
        self._retry_at = 0.0
        self._probed = False
        self._probe_key: str | None = None
        self._limit_told = False
        self._handlers: dict[type, Callable[..., list[Action]]] = {
            StreamStarted: self._stream_started,
            ModelReady: self._model_ready,
            SpeechStarted: self._speech_started,
            TurnCommitted: self._turn_committed,
            ResponseCreated: self._response_created,
            ItemAdded: self._item_added,
            AudioDelta: self._audio_delta,
            ItemAudioDone: self._item_audio_done,
            ToolCalled: self._tool_called,
            ToolFinished: self._tool_finished,
            ResponseDone: self._response_done,
            RequestRefused: self._request_refused,
            ModelLost: self._model_lost,
            MarkEchoed: self._mark_echoed,
            HubLate: self._hub_late,
            Tick: self._tick,
            Ended: self._ended,
        }

    @property
    def direction(self) -> Direction | None:
        """Inbound or outbound, as the stream's start said; None before it."""
        return self._direction

    @property
    def listening(self) -> bool:
        """Whether the caller is speaking, so that nothing may be said or asked for."""
        return self._listening

    @property
    def over(self) -> bool:
        """Whether the end was decided: no event has an effect any more."""
        return self._over

    def handle(self, event: Event) -> list[Action]:
        """Take one event; return what to do, in order. After the end: nothing."""
        return [] if self._over else self._handlers[type(event)](event)

    def model_seen(self, at: float) -> None:
        """Note that the model said something at `at`, whatever it was."""
        if self._model_seen_at is not None:
            self._model_seen_at = at
            self._probed = False

    # The two beginnings, and the end

    def _stream_started(self, event: StreamStarted) -> list[Action]:
        if self._started_at is not None:
            return []
        self._started_at, self._direction = event.at, event.direction
        return self._open(event.at)

    def _model_ready(self, event: ModelReady) -> list[Action]:
        self._model_seen_at = event.at
        return self._open(event.at)

    def _open(self, at: float) -> list[Action]:
        """Greet, once both the caller and the model are there."""
        if self._started_at is None or self._model_seen_at is None or self._requests or self._owed:
            return []
        return self._owe(at, _Reply("phrase", self._rules.opening))

    def _model_lost(self, _: ModelLost) -> list[Action]:
        return self._end(EndCall("model_failed", apologise=True))

    def _ended(self, _: Ended) -> list[Action]:
        self._over = True
        return []

    def _end(self, action: EndCall) -> list[Action]:
        self._over = True
        return [action]

    # The caller

    def _speech_started(self, event: SpeechStarted) -> list[Action]:
        self._listening = True
        return self._silence(event.at)

    def _silence(self, at: float) -> list[Action]:
        """Whatever the bot is saying, or about to say, is not said."""
        response = self._response if self._response is not None and not self._response.dead else None
        cut = self.playhead.interrupt(at, response_active=response is not None)
        actions: list[Action] = [ClearPlayback(self.playhead.generation)] if cut.clear else []
        unheard: list[str] = []
        if response is not None:
            response.dead, response.progress_at = True, at
            unheard, response.unheard = response.unheard, []
            if response.response_id is not None:
                actions.append(CancelResponse(response.response_id))
        if cut.truncate is not None:
            actions.append(TruncateItem(*cut.truncate))
        return [*actions, *(DeleteItem(item_id) for item_id in (*cut.delete, *unheard))]

    def _turn_committed(self, event: TurnCommitted) -> list[Action]:
        self._listening = False
        return self._owe(event.at, _Reply("answer"))

    # What is owed, and asking for it

    def _owe(self, at: float, reply: _Reply) -> list[Action]:
        """Owe a reply, and ask for it if nothing stands in its way; one answer serves all turns that wait."""
        if reply.kind == "phrase" or all(owed.kind != "answer" for owed in self._owed):
            self._owed.append(reply)
        return self._ask(at)

    def _ask(self, at: float) -> list[Action]:
        ready = self._started_at is not None and self._model_seen_at is not None
        busy = self._listening or self._response is not None or self._foreign or self._tools or at < self._retry_at
        if not ready or busy or not self._owed:
            return []
        reply = self._owed.pop(0)
        self._requests += 1
        key = f"kav{self._requests}"
        self._response = _Response(key, reply, progress_at=at)
        if reply.kind == "phrase":
            self._probe_key = key
        return [RequestResponse(key, reply.kind, reply.phrase)]

    def _again(self, at: float, reply: _Reply) -> list[Action]:
        """Ask once more for a reply that came to nothing; then give up, for silence is no answer."""
        reply.attempts += 1
        if reply.attempts >= ATTEMPTS:
            return self._end(EndCall("model_failed", apologise=True))
        self._owed.insert(0, reply)
        return self._ask(at)

    # The model's responses

    def _mine(self, response_id: str) -> _Response | None:
        response = self._response
        return response if response is not None and response.response_id == response_id else None

    def _response_created(self, event: ResponseCreated) -> list[Action]:
        response = self._response
        expected = response is not None and response.response_id is None and event.key in (None, response.key)
        if response is None or not expected:
            self._foreign.add(event.response_id)
            return [CancelResponse(event.response_id)]
        response.response_id, response.progress_at = event.response_id, event.at
        return [CancelResponse(event.response_id)] if response.dead else []

    def _item_added(self, event: ItemAdded) -> list[Action]:
        response = self._mine(event.response_id)
        if response is None or response.dead:
            return [DeleteItem(event.item_id)] if event.is_message else []
        response.progress_at = event.at
        if event.is_message:
            response.unheard.append(event.item_id)
        return []

    def _audio_delta(self, event: AudioDelta) -> list[Action]:
        response = self._mine(event.response_id)
        if response is None or response.dead:
            return []
        response.progress_at = event.at
        response.spoke = True
        if event.item_id in response.unheard:
            response.unheard.remove(event.item_id)
        generation = self.playhead.generation
        mark = self.playhead.send(event.at, event.item_id, event.length)
        actions: list[Action] = [PlayAudio(event.payload, generation)]
        if mark is not None:
            actions.append(SendMark(mark, generation))
        return actions

    def _item_audio_done(self, event: ItemAudioDone) -> list[Action]:
        response = self._mine(event.response_id)
        if response is None or response.dead:
            return []
        response.progress_at = event.at
        mark = self.playhead.complete()
        return [SendMark(mark, self.playhead.generation)] if mark is not None else []

    def _response_done(self, event: ResponseDone) -> list[Action]:
        response = self._mine(event.response_id)
        if response is None:
            self._foreign.discard(event.response_id)
            return self._ask(event.at)
        self._response = None
        self._retry_at = 0.0
        if response.dead:
            return self._ask(event.at)
        if event.status == "failed" and event.detail in FATAL_CODES:
            return self._end(EndCall("model_failed", apologise=True))
        if event.status == "failed" or not (response.spoke or response.called_tools):
            return self._again(event.at, response.reply)
        mark = self.playhead.complete()
        last = [SendMark(mark, self.playhead.generation)] if mark is not None else []
        return [*last, *self._ask(event.at)]

    def _request_refused(self, event: RequestRefused) -> list[Action]:
        if event.code in FATAL_CODES:
            return self._end(EndCall("model_failed", apologise=True))
        response = self._response
        waiting = response is not None and response.response_id is None
        if response is None or not waiting:
            return []
        if event.code == ANOTHER_ACTIVE and event.request in (None, response.key):
            return self._wait_for_another(event.at, response)
        if event.request != response.key:
            return []
        self._response = None
        return self._ask(event.at) if response.dead else self._again(event.at, response.reply)

    def _wait_for_another(self, at: float, response: _Response) -> list[Action]:
        """A response that Kav did not ask for is under way, or has just ended: ask again in a moment."""
        self._response = None
        self._retry_at = at + ANOTHER_ACTIVE_RETRY_S
        if response.dead:
            return []
        reply = response.reply
        reply.blocked_at = at if reply.blocked_at is None else reply.blocked_at
        if at - reply.blocked_at >= self._rules.reply_timeout_s:
            return self._end(EndCall("model_failed", apologise=True))
        self._owed.insert(0, reply)
        return []

    # Tools

    def _tool_called(self, event: ToolCalled) -> list[Action]:
        response = self._mine(event.response_id)
        if response is None or response.dead:
            return [DeleteItem(event.item_id)]
        response.progress_at = event.at
        if event.call_id in self._tools or event.call_id in self._tools_done:
            return []
        response.called_tools = True
        self._tools.add(event.call_id)
        return [RunTool(event.call_id, event.name, event.arguments)]

    def _tool_finished(self, event: ToolFinished) -> list[Action]:
        if event.call_id not in self._tools:
            return []
        self._tools.remove(event.call_id)
        self._tools_done.add(event.call_id)
        return [SendToolOutput(event.call_id, event.output), *self._owe(event.at, _Reply("answer"))]

    # Time

    def _mark_echoed(self, event: MarkEchoed) -> list[Action]:
        self.playhead.acknowledge(event.at, event.name)
        return []

    def _hub_late(self, event: HubLate) -> list[Action]:
        """Time in which the process stood still is not time that the model was quiet in."""
        if self._response is not None:
            self._response.progress_at += event.by_s
        if self._model_seen_at is not None:
            self._model_seen_at += event.by_s
        return []

    def _tick(self, event: Tick) -> list[Action]:
        if self._started_at is None:
            return []
        lasted_s = event.at - self._started_at
        if lasted_s >= self._rules.max_call_s:
            return self._end(EndCall("max_duration"))
        if self._model_stalled(event.at, lasted_s):
            return self._end(EndCall("model_failed", apologise=True))
        actions = self._notice_limit(event.at, lasted_s) or self._ask(event.at)
        return [*actions, *self._probe(event.at)]

    def _model_stalled(self, at: float, lasted_s: float) -> bool:
        timeout_s = self._rules.reply_timeout_s
        if self._model_seen_at is None:
            return lasted_s >= timeout_s
        if self._response is not None and at - self._response.progress_at >= timeout_s:
            return True
        return self._response is None and self._probed and at - self._model_seen_at >= timeout_s

    def _notice_limit(self, at: float, lasted_s: float) -> list[Action]:
        notice_at_s = self._rules.max_call_s - LIMIT_NOTICE_S
        if self._limit_told or notice_at_s <= 0 or lasted_s < notice_at_s:
            return []
        self._limit_told = True
        return self._owe(at, _Reply("phrase", "limit_notice"))

    def _probe(self, at: float) -> list[Action]:
        """A model that has said nothing for half of its time is asked whether it is there: it may hear nobody."""
        if self._probed or self._response is not None or self._probe_key is None or self._model_seen_at is None:
            return []
        if at - self._model_seen_at < self._rules.reply_timeout_s / 2:
            return []
        self._probed = True
        return [ProbeModel(self._probe_key)]

"""A model and a telephone line in values: they obey what the session asks, and check that it asks rightly."""

import json
from dataclasses import dataclass, field
from typing import Self

from kav.call import actions as act
from kav.call import events as ev
from kav.call.conversation import Conversation
from kav.call.deadlines import CallRules
from kav.call.flow import Flow
from kav.call.session import CallSession

RULES = CallRules(max_call_s=900, reply_timeout_s=8)


def talk_without_steps() -> Conversation:
    """A business that asks nothing, and has no exact words: every turn is answered."""
    return Conversation(Flow("plain", "בדיקה", "inbound", (), ("he",), greeting={}, closing={}), {})


@dataclass
class World:
    """One session, the time, and everything that was asked for; `do` feeds an event and checks the answer."""

    session: CallSession = field(default_factory=lambda: CallSession(RULES, talk_without_steps()))
    now: float = 1000.0
    active: str | None = None
    requested: str | None = None
    responses: int = 0
    received: dict[str, int] = field(default_factory=dict)
    done: list[act.Action] = field(default_factory=list)
    ended: bool = False

    def do(self, event: ev.Event) -> list[act.Action]:
        actions = self.session.handle(event)
        if self.ended:
            assert actions == [], "nothing happens after the end"
        for action in actions:
            self.take(action)
        self.done += actions
        return actions

    def take(self, action: act.Action) -> None:
        if isinstance(action, act.RequestResponse):
            assert self.requested is None, "one create at a time"
            assert self.active is None, "no create before the previous response is done"
            assert not self.session.listening, "no create while the caller speaks"
            self.requested = action.key
        elif isinstance(action, act.TruncateItem):
            assert 0 < action.audio_end_ms * 8 <= self.received[action.item_id], "truncation above received audio"
        elif isinstance(action, act.EndCall):
            self.ended = True

    def started(self) -> Self:
        self.do(ev.StreamStarted(self.now))
        self.do(ev.ModelReady(self.now))
        return self

    def created(self) -> str:
        """The model begins the response that was asked for."""
        self.responses += 1
        self.active, key, self.requested = f"resp{self.responses}", self.requested, None
        self.do(ev.ResponseCreated(self.now, self.active, key))
        return self.active

    def added(self, item: str) -> list[act.Action]:
        return self.do(ev.ItemAdded(self.now, self.active or "", item, is_message=True))

    def audio(self, item: str, ms: int) -> list[act.Action]:
        self.received[item] = self.received.get(item, 0) + ms * 8
        return self.do(ev.AudioDelta(self.now, self.active or "", item, b'"AA=="', ms * 8))

    def finish(self, status: ev.ResponseStatus = "completed", detail: str = "") -> list[act.Action]:
        response, self.active = self.active or "", None
        return self.do(ev.ResponseDone(self.now, response, status, detail))

    def speak(self, item: str, ms: int, words: str = "") -> None:
        """The model answers what was asked for, with one item, from created to done."""
        response = self.created()
        self.added(item)
        self.audio(item, ms)
        self.do(ev.BotWords(self.now, response, item, words, whole=True))
        self.do(ev.ItemAudioDone(self.now, response, item))
        self.finish()

    def judge(self, tool: str, **arguments: object) -> list[act.Action]:
        """The model judges the caller's turn with one tool call."""
        response = self.created()
        call = f"call{self.responses}"
        told = json.dumps(arguments)
        actions = self.do(ev.ToolCalled(self.now, response, f"item_{call}", call, tool, told))
        return [*actions, *self.finish()]

    def turn(self) -> list[act.Action]:
        """The caller says something."""
        return [*self.speech(), *self.commit()]

    def speech(self) -> list[act.Action]:
        return self.do(ev.SpeechStarted(self.now))

    def commit(self) -> list[act.Action]:
        return self.do(ev.TurnCommitted(self.now, "user_item"))

    def typed(self, text: str, item: str = "typed1") -> list[act.Action]:
        """The caller types a line."""
        return self.do(ev.CallerTyped(self.now, item, text))

    def marks_return(self) -> None:
        """Everything is played: Twilio echoes every mark of the current generation."""
        for action in list(self.done):
            if isinstance(action, act.SendMark):
                self.do(ev.MarkEchoed(self.now, action.name))

    def of(self, kind: type[act.Action]) -> list[act.Action]:
        return [action for action in self.done if isinstance(action, kind)]

"""The one owner of `response.create`: what the bot owes, what it has asked for, and what became of that.

A reply is *owed* first and asked for when nothing stands in its way: the caller is not speaking, no response is under
way and no tool is running. So there is never a second create, none before the previous response is done, and every
committed turn of the caller gets exactly one reply.

A response that the caller has spoken over is *dead*: nothing of it may be heard. It may be dead before it is born,
when it was asked for and not yet created.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from kav.call.actions import (
    Action,
    CancelResponse,
    DeleteItem,
    EndCall,
    OwnTools,
    ReplyKind,
    RequestResponse,
    RunTool,
    SendToolOutput,
)
from kav.call.events import ItemAdded, RequestRefused, ResponseCreated, ResponseDone, ToolCalled
from kav.call.ruling import Directive, Say

ATTEMPTS: Final = 2
"""A reply that failed is asked for once more; a third silence is longer than a caller waits."""

ANOTHER_ACTIVE: Final = "conversation_already_has_active_response"
RATE_LIMIT_CODES: Final = frozenset({"rate_limit_exceeded", "inference_rate_limit_exceeded"})
RATE_LIMIT_RETRY_S: Final = 1.0
"""Pause before a response is asked for again that failed for there were too many: at once, it would fail again."""

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
"""Errors after which the model will never answer again on its connection (Realtime API, error codes)."""

KEPT: Final = frozenset({"greeting", "resumed", "limit_notice"})
"""Phrases that are owed whatever the caller says meanwhile."""

MAX_TOOL_ROUNDS: Final = 2
"""How often one reply may call tools before it must be said: a caller who waits hears nothing."""

TOOL_DEADLINE_S: Final = 16.0
"""After that a tool counts as lost: a little more than the longest that a flow file may let one work."""

MAY_CALL: Final[tuple[Say, ...]] = ("answer_then_resume", "talk")
"""What is said of the model's own knowledge; all else that is said in a script is settled."""

REFUSED: Final = "There is no such tool now. Say what you were told to say."
LOST: Final = "The tool did not answer; say that you cannot tell."

GIVE_UP: Final = EndCall("model_failed", apologise=True)


@dataclass(slots=True)
class Reply:
    """Something the bot owes the caller."""

    kind: ReplyKind
    phrase: str = ""
    text: str = ""
    language: str = ""
    directive: Directive | None = None
    attempts: int = 0
    tool_rounds: int = 0
    """How often it has called tools."""
    blocked_at: float | None = None
    """When the model first said that another response stands in its way."""


@dataclass(slots=True)
class Response:
    """A reply that was asked for: first only a key, then a response of the model's."""

    key: str
    reply: Reply
    progress_at: float
    """When the model last did something about it."""
    asked_at: float
    response_id: str | None = None
    dead: bool = False
    spoke: bool = False
    called_tools: bool = False
    unheard: list[str] = field(default_factory=list)
    """Message items that were announced and have no audio yet."""
    words: dict[str, str] = field(default_factory=dict)
    """What it says, by item."""

    @property
    def transcript(self) -> str:
        """All that it says, as far as it has said it."""
        return " ".join(self.words.values())


@dataclass(slots=True)
class Work:
    """A tool at work since `since` for a reply that is owed again when it is back, or for none any more."""

    since: float
    reply: Reply | None
    awaited: bool = True
    """Whether nothing may be asked for meanwhile."""


class Replies:
    """Everything about responses that does not need to know what was heard.

    `tools`: names of the business's own tools, which a script's reply may call.
    """

    def __init__(self, reply_timeout_s: float, tools: Iterable[str] = ()) -> None:
        self.held = True
        """Nothing may be asked for: the caller is speaking, or somebody is not there yet."""
        self.response: Response | None = None
        self.count = 0
        self._reply_timeout_s = reply_timeout_s
        self._owed: list[Reply] = []
        self._foreign: dict[str, float] = {}
        """Responses that Kav did not ask for and has cancelled, and when."""
        self._own_tools = frozenset(tools)
        self._tools: dict[str, Work] = {}
        self._tools_done: set[str] = set()
        self._retry_at = 0.0

    def live(self, response_id: str, at: float) -> Response | None:
        """Return the response under way if it is `response_id` and may be heard; it has made progress at `at`."""
        response = self._mine(response_id)
        if response is None or response.dead:
            return None
        response.progress_at = at
        return response

    def stalled(self, at: float) -> bool:
        """Whether the model has left a response, asked for or begun, without any progress for too long."""
        since = [*self._foreign.values(), *([self.response.progress_at] if self.response is not None else [])]
        return bool(since) and at - min(since) >= self._reply_timeout_s

    def forgive(self, by_s: float) -> None:
        """The process stood still for `by_s` seconds: that time counts against no response."""
        self._foreign = {response_id: since + by_s for response_id, since in self._foreign.items()}
        if self.response is not None:
            self.response.progress_at += by_s
        for work in self._tools.values():
            work.since += by_s

    # Owing and asking

    def owe(self, at: float, reply: Reply, *, first: bool = False) -> list[Action]:
        """Owe a reply, and ask for it if nothing stands in its way; one answer serves all turns that wait.

        `first`: it is said before all else that waits.
        """
        once_each = reply.kind in ("phrase", "speak") and reply not in self._owed
        if once_each or all(owed.kind != reply.kind for owed in self._owed):
            self._owed.insert(0 if first else len(self._owed), reply)
        return self.ask(at)

    def forget(self) -> None:
        """The caller speaks: what was still to be said of the conversation is overtaken by what they say."""
        self._owed = [reply for reply in self._owed if reply.kind in ("answer", "judge") or reply.phrase in KEPT]
        for work in self._tools.values():
            work.awaited = False
            if work.reply is not None and work.reply.kind == "speak":
                work.reply = None

    def drop(self) -> None:
        """Nothing of the conversation is owed any more, not even an answer to what the caller has said."""
        self._owed = []
        for work in self._tools.values():
            work.awaited, work.reply = False, None

    @property
    def saying(self) -> Reply | None:
        """The reply that is under way and may be heard."""
        return self.response.reply if self.response is not None and not self.response.dead else None

    @property
    def unsaid(self) -> bool:
        """Whether something of the script is still to be said: it waits, or a tool works for it."""
        waiting = [*self._owed, *(work.reply for work in self._tools.values() if work.reply is not None)]
        return any(reply.kind == "speak" for reply in waiting)

    @property
    def turn_waits(self) -> bool:
        """Whether a turn of the caller's waits for its reply to be asked for."""
        return any(reply.kind in ("answer", "judge") for reply in self._owed)

    @property
    def judging(self) -> bool:
        """Whether a turn of the caller's is being judged, and nothing is known of it yet."""
        live = self.response
        return live is not None and not live.dead and live.reply.kind == "judge" and not live.called_tools

    def reset(self) -> list[Reply]:
        """The model is lost: nothing is under way or owed any more; return what was still to be said, in order.

        A tool works on: what was asked of a business is done, and the next model is told what it brings.
        """
        live = self.response if self.response is not None and not self.response.dead else None
        pending = [*([live.reply] if live is not None else []), *self._owed]
        for reply in pending:
            reply.attempts, reply.blocked_at = 0, None  # another model has tries of its own
        for work in self._tools.values():
            work.awaited = False
        self.held, self.response, self._owed, self._foreign = True, None, [], {}
        self._retry_at = 0.0
        return pending

    @property
    def idle(self) -> bool:
        """Whether nothing is owed, under way or being worked on."""
        at_work = any(work.reply is not None for work in self._tools.values())
        return self.response is None and not (self._owed or at_work or self._foreign)

    def ask(self, at: float) -> list[Action]:
        """Ask for what is owed, if nothing stands in its way."""
        at_work = any(work.awaited for work in self._tools.values())
        busy = self.held or self.response is not None or self._foreign or at_work or at < self._retry_at
        if busy or not self._owed:
            return []
        reply = self._owed.pop(0)
        self.count += 1
        self.response = Response(f"kav{self.count}", reply, progress_at=at, asked_at=at)
        key, tools = self.response.key, self._tools_of(reply)
        return [RequestResponse(key, reply.kind, reply.phrase, reply.text, reply.language, reply.directive, tools)]

    def _again(self, at: float, reply: Reply, why: str) -> list[Action]:
        """Ask once more for a reply that came to nothing; then give up the model, and still owe it: no silence."""
        reply.attempts += 1
        self._owed.insert(0, reply)
        if reply.attempts >= ATTEMPTS:
            return [GIVE_UP]
        if why in RATE_LIMIT_CODES:
            self._retry_at = at + RATE_LIMIT_RETRY_S
        return self.ask(at)

    def silence(self, at: float) -> list[Action]:
        """Nothing of the response under way may be heard: cancel it, and let the model forget what never sounded."""
        response = self.response
        if response is None or response.dead:
            return []
        response.dead, response.progress_at = True, at
        return [CancelResponse(response.response_id)] if response.response_id is not None else []

    # What becomes of a response

    def created(self, event: ResponseCreated) -> list[Action]:
        """Take a response for the one that was asked for; any other is none of Kav's and is cancelled."""
        response = self.response
        expected = response is not None and response.response_id is None and event.key in (None, response.key)
        if response is None or not expected:
            self._foreign[event.response_id] = event.at
            return [CancelResponse(event.response_id)]
        response.response_id, response.progress_at = event.response_id, event.at
        return [CancelResponse(event.response_id)] if response.dead else []

    def item_added(self, event: ItemAdded) -> list[Action]:
        """Note an item until it sounds; one of a response that may not be heard is forgotten at once."""
        response = self.live(event.response_id, event.at)
        if response is None:
            return [DeleteItem(event.item_id)] if event.is_message else []
        if event.is_message:
            response.unheard.append(event.item_id)
        return []

    def done(self, event: ResponseDone) -> list[Action]:
        """A response is over; ask again for one that came to nothing, else for what waits."""
        response = self._mine(event.response_id)
        if response is None:
            self._foreign.pop(event.response_id, None)
            return self.ask(event.at)
        self.response, self._retry_at = None, 0.0
        if response.dead:
            return self.ask(event.at)
        if event.status == "failed" and event.detail in FATAL_CODES:
            self._owed.insert(0, response.reply)
            return [GIVE_UP]
        if not response.called_tools and (event.status == "failed" or not response.spoke):
            return self._again(event.at, response.reply, event.detail)
        return self.ask(event.at)

    def refused(self, event: RequestRefused) -> list[Action]:
        """A request was refused: fatal for the session, or for the response that was asked for, or of no matter."""
        if event.code in FATAL_CODES:
            return [GIVE_UP]
        response = self.response
        if response is None or response.response_id is not None or event.request not in (None, response.key):
            return []
        if event.code == ANOTHER_ACTIVE:
            return self._wait_for_another(event.at, response)
        if event.request is None:
            return []
        self.response = None
        return self.ask(event.at) if response.dead else self._again(event.at, response.reply, event.code)

    def _wait_for_another(self, at: float, response: Response) -> list[Action]:
        """A response that Kav did not ask for is under way, or has just ended: ask again in a moment."""
        self.response = None
        self._retry_at = at + ANOTHER_ACTIVE_RETRY_S
        if response.dead:
            return []
        reply = response.reply
        reply.blocked_at = at if reply.blocked_at is None else reply.blocked_at
        self._owed.insert(0, reply)
        return [GIVE_UP] if at - reply.blocked_at >= self._reply_timeout_s else []

    def _mine(self, response_id: str) -> Response | None:
        response = self.response
        return response if response is not None and response.response_id == response_id else None

    # Tools

    def _tools_of(self, reply: Reply) -> OwnTools:
        spent = reply.tool_rounds >= MAX_TOOL_ROUNDS
        if reply.kind == "answer":
            return "no_more" if spent else "as_kind"
        free = reply.kind == "speak" and reply.directive is not None and reply.directive.say in MAY_CALL
        return "may_call" if self._own_tools and free and not spent else "as_kind"

    def _may_call(self, reply: Reply, name: str) -> bool:
        allowed = self._tools_of(reply)
        return name in self._own_tools if allowed == "may_call" else reply.kind == "answer" and allowed == "as_kind"

    def tool_called(self, event: ToolCalled) -> list[Action]:
        """Run a tool, once for each call; a call of a response that may not be heard is forgotten.

        One that the response may not call is refused; if nothing was said besides, the reply is asked for again.
        """
        response = self.live(event.response_id, event.at)
        if response is None:
            return [DeleteItem(event.item_id)]
        if event.call_id in self._tools or event.call_id in self._tools_done:
            return []
        if not self._may_call(response.reply, event.name):
            self._tools_done.add(event.call_id)
            response.reply.tool_rounds = MAX_TOOL_ROUNDS
            return [SendToolOutput(event.call_id, REFUSED)]
        response.called_tools = True
        self._tools[event.call_id] = Work(event.at, response.reply)
        return [RunTool(event.call_id, event.name, event.arguments)]

    def is_new(self, call_id: str) -> bool:
        """Whether a call was not seen before; it is from now on."""
        new = call_id not in self._tools and call_id not in self._tools_done
        self._tools_done.add(call_id)
        return new

    def tool_finished(self, at: float, call_id: str, output: str) -> list[Action]:
        """A tool is back: the model is told, and what it was asked for is owed again. Too late, it is ignored."""
        work = self._tools.pop(call_id, None)
        if work is None:
            return []
        self._tools_done.add(call_id)
        return [SendToolOutput(call_id, output), *self._owe_again(at, work.reply)]

    def give_up_tools(self, at: float) -> list[Action]:
        """Give up tools that never came back, so that nothing waits for them for ever."""
        lost = [call_id for call_id, work in self._tools.items() if at - work.since >= TOOL_DEADLINE_S]
        return [action for call_id in lost for action in self.tool_finished(at, call_id, LOST)]

    def _owe_again(self, at: float, reply: Reply | None) -> list[Action]:
        """Owe a reply once more, when all the tools that it has called are back."""
        if reply is None or any(work.reply is reply for work in self._tools.values()):
            return []
        reply.attempts, reply.tool_rounds = 0, reply.tool_rounds + 1
        served = reply.kind == "answer" and any(owed.kind == "answer" for owed in self._owed)
        if not served:
            self._owed.insert(0, reply)
        return self.ask(at)

"""What a scenario tells the model out of band: what the caller said, and what to answer. Audio decides only when.

class Clerk(ObedientScript):
    def reply(self, request: ReplyRequest) -> Reply:
        if request.tool_choice == "required":
            return Reply([CallTool("answer_step", {"value": "חיפה", "language": "he"})])
        return super().reply(request)
"""

import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from rehearsal.model.conversation import Item
from rehearsal.model.rules import Event

if TYPE_CHECKING:
    from rehearsal.model.session import ModelSession

Speak = Callable[[str, str], bytes]  # text, language -> mu-law at 8 kHz
_QUOTED = re.compile("«([^»]*)»")
_TOLD = re.compile("“([^”]*)”")


@dataclass(frozen=True)
class Say:
    """One spoken message item: its transcript, and its sound (None: `speak(text, language)` gives it)."""

    text: str
    language: str = "he"
    audio: bytes | None = None


@dataclass(frozen=True)
class WriteText:
    """One written message item."""

    text: str


@dataclass(frozen=True)
class CallTool:
    """One function call; `arguments` as a string go out as they are, broken JSON too. `call_id` None: a fresh one."""

    name: str
    arguments: Mapping[str, object] | str = field(default_factory=dict)
    call_id: str | None = None

    @property
    def arguments_json(self) -> str:
        """The arguments as they go over the wire."""
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments, ensure_ascii=False)


Part = Say | WriteText | CallTool


@dataclass(frozen=True)
class Reply:
    """One response: its items, when the first begins (seconds after `response.created`), and how it ends.

    `status` "incomplete" leaves the last item incomplete for `reason`; "failed" ends with `error` (code, message).
    `done_after_s` holds `response.done` back once everything else has been sent.
    """

    parts: Sequence[Part] = ()
    first_after_s: float = 0.15
    status: Literal["completed", "incomplete", "failed"] = "completed"
    reason: Literal["max_output_tokens", "content_filter"] = "max_output_tokens"
    error: tuple[str, str] = ("server_error", "The server had an error while processing your request.")
    done_after_s: float = 0.0


@dataclass(frozen=True)
class SessionInfo:
    """Who is calling the model: enough to find the scenario that a session belongs to. Header names are lower case."""

    headers: Mapping[str, str]
    model: str
    session: "ModelSession"

    @property
    def safety_identifier(self) -> str | None:
        """The `OpenAI-Safety-Identifier` header, by which a rehearsal knows which call this is."""
        return self.headers.get("openai-safety-identifier")


@dataclass(frozen=True)
class ReplyRequest:
    """One response to be given. `create` is the event's `response` ({} for one that voice activity began)."""

    session: "ModelSession"
    create: Event
    settings: Event  # the session's configuration with this response's overrides

    @property
    def conversation(self) -> Sequence[Item]:
        """The items the model remembers, oldest first."""
        return self.session.conversation.items

    @property
    def tool_choice(self) -> str | Event:
        """ "auto", "none", "required", or one tool."""
        choice: str | Event = self.settings.get("tool_choice") or "auto"
        return choice

    @property
    def metadata(self) -> Mapping[str, str]:
        """The pairs that the client attached to this response."""
        return self.create.get("metadata") or {}

    @property
    def phrase(self) -> str | None:
        """The fixed phrase asked for, between « and »: in this response's instructions, or in a system item that is
        newer than anything said since."""
        in_instructions = _QUOTED.search(self.create.get("instructions") or "")
        if in_instructions:
            return in_instructions[1]
        newest = next((item for item in reversed(self.conversation) if item.type == "message"), None)
        quoted = _QUOTED.search(newest.text) if newest is not None and newest.role == "system" else None
        return quoted[1] if quoted else None

    @property
    def told(self) -> str | None:
        """The last words between “ and ” in a newest system item: the model is to work them into its own."""
        newest = next((item for item in reversed(self.conversation) if item.type == "message"), None)
        told = _TOLD.findall(newest.text) if newest is not None and newest.role == "system" else []
        return told[-1] if told else None


class Script(Protocol):
    """The scenario's side of one session."""

    def heard(self, session: "ModelSession") -> str:
        """The transcript of the caller's turn that was committed just now."""

    def reply(self, request: ReplyRequest) -> Reply:
        """What the model does about a `response.create`, or about a caller's turn it answers by itself."""


class ObedientScript:
    """Speaks a fixed phrase when asked for one, else its next answer, else one short sentence."""

    def __init__(
        self,
        answers: Iterable[str | Part | Reply] = (),
        heard: Iterable[str] = (),
        otherwise: str = "בסדר גמור.",
        language: str = "he",
    ) -> None:
        self.answers: deque[str | Part | Reply] = deque(answers)
        self.turns: deque[str] = deque(heard)
        self.otherwise = otherwise
        self.language = language

    def heard(self, session: "ModelSession") -> str:  # noqa: ARG002 - the queue knows; other scripts look
        """The next of the turns it was given, else an empty transcript."""
        return self.turns.popleft() if self.turns else ""

    def reply(self, request: ReplyRequest) -> Reply:
        """The phrase, the next answer, or the sentence that is always right."""
        if request.phrase is not None:
            return self._as_reply(request.phrase)
        return self._as_reply(self.answers.popleft() if self.answers else self.otherwise)

    def _as_reply(self, answer: str | Part | Reply) -> Reply:
        if isinstance(answer, Reply):
            return answer
        return Reply([Say(answer, self.language) if isinstance(answer, str) else answer])

"""A business's script as values: what a flow file says, once it is read and found right.

Texts are held by language (`he`, `en`, ...); the first of the flow's languages is its own. Which question is active,
and what counts as its answer, is decided in `flow_lock`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kav.call.events import Direction

AnswerKind = Literal["text", "choice", "yes_no", "number", "phone", "date", "time", "name", "address"]
GiveUp = Literal["skip", "transfer", "end"]
"""What happens to a step that was asked too often: recorded as unanswered and passed, or handed over, or the end."""

Gender = Literal["male", "female"]
Texts = Mapping[str, str]
"""A sentence by language code; the flow's own language is always there."""

CLOSING = "closing"
"""A branch's target that ends the steps."""


@dataclass(frozen=True, slots=True)
class Step:
    """One question of the flow."""

    id: str
    ask: Texts
    kind: AnswerKind = "text"
    choices: tuple[str, ...] = ()
    confirm: bool = False
    """The value is read back, and only a yes locks it."""
    default_caller_id: bool = False
    """"This number" means the number that the caller calls from."""
    optional: bool = False
    """"I do not know" is taken, and recorded as unanswered."""
    max_asks: int = 3
    give_up: GiveUp = "skip"
    branches: Mapping[str, str] = field(default_factory=dict)
    """Answer -> id of the step that follows it, or `closing`; any other answer goes on to the next step."""


@dataclass(frozen=True, slots=True)
class Hours:
    """Opening hours: by weekday (`sun` ... `sat`) the spans, e.g. ("08:00-13:00", "16:00-19:00"), in `timezone`."""

    timezone: str
    days: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Transfer:
    """The human to hand over to: E.164 number, how long it rings, and how long the call with them may last."""

    to: str
    announcement: Texts
    ring_s: int = 25
    time_limit_s: int = 1800


@dataclass(frozen=True, slots=True)
class HttpTool:
    """A tool of the business's own, asked over HTTPS; `headers` may name secrets of the environment as ${NAME}."""

    name: str
    description: str
    url: str
    method: Literal["GET", "POST"]
    parameters: Mapping[str, Any]
    """JSON schema of the arguments."""
    timeout_s: float = 5.0
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Owner:
    """Who is told of each call: by SMS (E.164), by e-mail, or both; in which language."""

    sms: str = ""
    email: str = ""
    language: str = "he"


@dataclass(frozen=True, slots=True)
class Flow:
    """One business's script for one direction."""

    id: str
    business: str
    direction: Direction
    numbers: tuple[str, ...]
    """E.164: the numbers that are dialled (inbound), or that it calls from (outbound)."""
    languages: tuple[str, ...]
    greeting: Texts
    closing: Texts
    facts: str = ""
    steps: tuple[Step, ...] = ()
    gender: Gender = "female"
    voice: str = ""
    hours: Hours | None = None
    transfer: Transfer | None = None
    tools: tuple[HttpTool, ...] = ()
    machine_message: Texts = field(default_factory=dict)
    """What an outbound call leaves on an answering machine; nothing: it hangs up."""
    variables: tuple[str, ...] = ()
    """What is told of each call that is placed, and stands as `{name}` in the texts; see `variables`."""
    owner: Owner | None = None
    summary: bool = False
    """Whether a model sums the call up when it is over."""
    recording: Texts = field(default_factory=dict)
    """What callers are told about the recording, as part of the greeting; nothing: the call is not recorded."""
    max_calls: int = 0
    """Calls of this flow that may go on at a time; 0: as many as there is room for."""

    @property
    def language(self) -> str:
        """The flow's own language."""
        return self.languages[0]

    def step(self, step_id: str) -> Step | None:
        """Return a step by its id."""
        return next((step for step in self.steps if step.id == step_id), None)

    def after(self, step: Step, value: str | None) -> str | None:
        """Return the id of the step that follows `step` answered with `value`; None when the steps are done."""
        target = step.branches.get(value) if value is not None else None
        if target == CLOSING:
            return None
        if target is not None:
            return target
        place = self.steps.index(step) + 1
        return self.steps[place].id if place < len(self.steps) else None

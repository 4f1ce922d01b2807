"""A call that is over, as values: what is summed up, told to its owner and sent to the business's own systems."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from kav.call.events import Direction
from kav.call.flow import Owner

DEFAULT_TIMEZONE: Final = "Asia/Jerusalem"
"""Of a business that names no opening hours."""


@dataclass(frozen=True, slots=True)
class Said:
    """One turn, as it was heard."""

    who: Literal["caller", "bot"]
    text: str


@dataclass(frozen=True, slots=True)
class Given:
    """What a step brought: `value`, or why there is none; `question` is in the owner's language if it can be."""

    step: str
    question: str
    value: str | None
    unanswered: str = ""


@dataclass(frozen=True, slots=True)
class Findings:
    """What a model made of the conversation; nothing, where none was asked or it could not say."""

    summary: str = ""
    extracted: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CallReport:
    """A call that is over. Numbers are E.164 where there is one; times are UTC."""

    call_sid: str
    flow: str
    business: str
    direction: Direction
    own_number: str
    other_number: str
    began_at: datetime
    ended_at: datetime
    duration_s: int
    """From its first stream to its end."""
    end_reason: str
    language: str
    flow_done: bool | None
    """Whether each step that was asked has its answer; None: the flow has no steps."""
    do_not_call: bool
    answers: tuple[Given, ...] = ()
    talk: tuple[Said, ...] = ()
    timezone: str = DEFAULT_TIMEZONE
    """Of the business."""
    owner: Owner | None = None
    wants_summary: bool = False
    unserved: bool = False
    """Kav could not serve them, and nobody else did: they heard an apology, and somebody must call them back, unless
    they asked not to be called (`do_not_call`)."""
    is_test: bool = False
    """From the console's own page: no customer's call, and measured apart from those."""

    @property
    def was_talked(self) -> bool:
        """Whether the other party said, keyed or answered anything: else there is nothing to tell of."""
        return bool(self.answers) or any(said.who == "caller" for said in self.talk)

    @property
    def concerns_owner(self) -> bool:
        """Whether the owner is told of it."""
        return self.was_talked or self.unserved


def payload(report: CallReport, findings: Findings) -> dict[str, Any]:
    """The webhook's body; docs/operating.md tells what is in it."""
    return {
        "event": "call.ended",
        "id": delivery_id(report),
        "call_sid": report.call_sid,
        "flow": report.flow,
        "business": report.business,
        "direction": report.direction,
        "own_number": report.own_number,
        "other_number": report.other_number,
        "began_at": report.began_at.isoformat(timespec="milliseconds"),
        "ended_at": report.ended_at.isoformat(timespec="milliseconds"),
        "duration_s": report.duration_s,
        "end_reason": report.end_reason,
        "language": report.language,
        "flow_done": report.flow_done,
        "do_not_call": report.do_not_call,
        "unserved": report.unserved,
        "test": report.is_test,
        "answers": [
            {"step": given.step, "value": given.value, "unanswered": given.unanswered or None}
            for given in report.answers
        ],
        "summary": findings.summary or None,
        "extracted": dict(findings.extracted) or None,
    }


def delivery_id(report: CallReport) -> str:
    """The same for every attempt to tell of a call, so that whoever is told twice can see it."""
    return f"call.ended/{report.call_sid}"

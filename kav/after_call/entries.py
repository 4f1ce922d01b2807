"""A call's report, from its entry in the registry: the one place where the two meet."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from kav.after_call.report import DEFAULT_TIMEZONE, CallReport, Given, Said
from kav.call.chronicle import Turn
from kav.call.conversation import Conversation
from kav.call.flow import Flow
from stream_registry import Entry, other_party, own_number


def report_of(entry: Entry) -> CallReport:
    """Return the report of a call that is over. A test call from the browser has no owner who would be told."""
    talk, flow = entry["conversation"], entry["flow"]
    ended_at = entry["ended_at"] or time.monotonic()
    began_at = entry["streamed_at"] or ended_at
    on_the_telephone = entry["line"] == "twilio"
    return CallReport(
        call_sid=entry["call_sid"],
        flow=flow.id,
        business=flow.business,
        direction=entry["direction"],
        own_number=own_number(entry),
        other_number=other_party(entry),
        began_at=_wall_time(began_at),
        ended_at=_wall_time(ended_at),
        duration_s=round(ended_at - began_at),
        end_reason=entry["end_reason"] or "",
        language=talk.language.current if talk is not None else flow.language,
        flow_done=talk.lock.completed if talk is not None else _none_done(flow),
        do_not_call=talk is not None and talk.do_not_call,
        answers=tuple(_answers(talk)) if talk is not None else (),
        talk=tuple(_talk(talk)) if talk is not None else (),
        timezone=flow.hours.timezone if flow.hours is not None else DEFAULT_TIMEZONE,
        owner=flow.owner if on_the_telephone else None,
        wants_summary=flow.summary,
        unserved=on_the_telephone and entry["after_stream"] == "apology",
        is_test=not on_the_telephone,
    )


def _none_done(flow: Flow) -> bool | None:
    """Return what is to be said of a script that nobody began: that it was not gone through, if it has steps."""
    return False if flow.steps else None


def _answers(talk: Conversation) -> Iterator[Given]:
    """The answers in their order, with their questions in the owner's language where the file has that."""
    flow = talk.flow
    language = flow.owner.language if flow.owner is not None else flow.language
    for answer in talk.lock.answers.values():
        step = flow.step(answer.step)
        question = (step.ask.get(language) or step.ask.get(flow.language, "")) if step is not None else ""
        yield Given(answer.step, question or answer.step, answer.value, answer.unanswered)


def _talk(talk: Conversation) -> Iterator[Said]:
    for turn in talk.chronicle.turns:
        text = _heard(turn)
        if text or turn.who == "caller":
            yield Said(turn.who, text)


def _heard(turn: Turn) -> str:
    return turn.heard if turn.who == "bot" else turn.text


def _wall_time(monotonic: float) -> datetime:
    """Return the time of day of a monotonic moment."""
    return datetime.now(UTC) - timedelta(seconds=time.monotonic() - monotonic)

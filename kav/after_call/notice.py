"""What the owner is told of a call, in words: a title, and a text that fits one SMS. Pure."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from kav.after_call.report import CallReport, Findings, Given
from kav.call.admission import is_withheld
from realtime_prompt_builder import load_languages

MAX_SMS: Final = 1_500
"""Characters; Twilio refuses more than 1600."""

MAX_ANSWER: Final = 200

RIGHT_TO_LEFT: Final = frozenset({"he", "ar"})
LEFT_TO_RIGHT: Final = "\u2066"
ISOLATE_ENDS: Final = "\u2069"
"""Between the two a text has a direction of its own (Unicode, UAX #9, 2.5)."""

NUMBER: Final = re.compile(r"\+\d(?:[ -]?\d)+")

CUT_OFF: Final = frozenset({"socket_lost", "no_media", "write_stalled", "model_failed", "error", "shutdown"})
"""End reasons that are no end of a conversation."""


@cache
def words_by_language() -> Mapping[str, Mapping[str, str]]:
    """The words of every language's `notice`, read once."""
    return {language: content["notice"] for language, content in load_languages().items()}


def title(report: CallReport) -> str:
    """One line: which business, with whom."""
    words = _words(report)
    told = words["title"].format(
        business=_line(report.business),
        number=words["unknown_number"] if is_withheld(report.other_number) else report.other_number,
    )
    return _readable(told, report)


def text(report: CallReport, findings: Findings) -> str:
    """All that is told, without the title."""
    return _readable("\n".join(_lines(report, findings, _words(report))), report)


def sms(report: CallReport, findings: Findings) -> str:
    """Title and text in one message."""
    whole = f"{title(report)}\n{text(report, findings)}"
    return whole if len(whole) <= MAX_SMS else f"{whole[: MAX_SMS - 1]}…"


def _lines(report: CallReport, findings: Findings, words: Mapping[str, str]) -> Iterator[str]:
    when = report.began_at.astimezone(ZoneInfo(report.timezone))
    minutes = max(1, round(report.duration_s / 60))
    yield words["when"].format(date=f"{when:%d/%m}", time=f"{when:%H:%M}", minutes=minutes)
    yield from _found(report, findings, words)
    for given in report.answers:
        yield f"{_line(given.question)} {_value(given, words)}"
    if report.do_not_call:
        yield words["do_not_call"]
    if report.end_reason == "transferred":
        yield words["transferred"]
    elif report.unserved and not report.do_not_call:
        yield words["unserved_hidden" if is_withheld(report.other_number) else "unserved"]
    elif report.end_reason in CUT_OFF:
        yield words["cut_off"]


def _found(report: CallReport, findings: Findings, words: Mapping[str, str]) -> Iterator[str]:
    """The summary, and of what was extracted that which an owner acts upon; nobody is called who asked not to be."""
    told: Mapping[str, Any] = findings.extracted
    if told.get("urgency") == "high":
        yield words["urgent"]
    if findings.summary:
        yield findings.summary
    if told.get("phone") and not report.do_not_call:
        yield words["phone"].format(phone=told["phone"])


def _value(given: Given, words: Mapping[str, str]) -> str:
    if given.value is None:
        return words["unanswered"]
    value = words.get(given.value, "") if given.value in ("yes", "no") else _line(given.value)[:MAX_ANSWER]
    return words["unconfirmed"].format(value=value) if given.unanswered else value


def _line(said: str) -> str:
    return " ".join(said.split())


def _readable(told: str, report: CallReport) -> str:
    """Return a text in which a number keeps its plus before it, also where lines run from right to left."""
    if _language(report) not in RIGHT_TO_LEFT:
        return told
    return NUMBER.sub(lambda found: f"{LEFT_TO_RIGHT}{found[0]}{ISOLATE_ENDS}", told)


def _language(report: CallReport) -> str:
    return report.owner.language if report.owner is not None else report.language


def _words(report: CallReport) -> Mapping[str, str]:
    return words_by_language().get(_language(report)) or words_by_language()["en"]

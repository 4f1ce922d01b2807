"""What Kav has put on record of a call, as far as a scenario asks for it."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from rehearsal.expectation import Answer, Expect

WITHIN_S = 5.0
"""A record is written beside the call, once a second and at its end."""


@dataclass(frozen=True)
class Record:
    """One call's record."""

    end_reason: str | None = None
    answers: Mapping[str, Answer | str] = field(default_factory=dict)
    breaches: tuple[str, ...] = ()
    """What the model did, and with what, e.g. `wrong language: he`."""
    languages: tuple[str, ...] = ()
    """What the bot spoke, from one switch to the next."""
    translated: int = 0
    """How many of Kav's own sentences the model has translated."""


@dataclass(frozen=True)
class Finding:
    """Something that is to be on record: whether it is, and what is there instead."""

    expected: str
    ok: bool
    seen: str


def compare(expect: Expect, record: Record, caller: str) -> Iterator[Finding]:
    """Hold a record against what is expected of it; `caller` is the number of whoever the bot talks with."""
    if expect.end_reason is not None:
        reason = record.end_reason or "no reason"
        yield Finding(f"the record says why it ended: {expect.end_reason}", reason == expect.end_reason, reason)
    if expect.answers is not None:
        wanted = {step: caller if answer == "caller_id" else answer for step, answer in expect.answers.items()}
        yield Finding(f"on record of the script: {_told(wanted)}", wanted == record.answers, _told(record.answers))
    if expect.breaches is not None:
        found = ", ".join(record.breaches) or "nothing"
        wanted_breaches = ", ".join(expect.breaches) or "nothing"
        yield Finding(f"on record against the model: {wanted_breaches}", expect.breaches == record.breaches, found)
    if expect.languages is not None:
        spoken = ", ".join(record.languages) or "nothing"
        yield Finding(f"the bot spoke {', '.join(expect.languages)}", expect.languages == record.languages, spoken)
    if expect.translated is not None:
        right = expect.translated == record.translated
        yield Finding(f"on record as translated: {expect.translated}", right, str(record.translated))


def _told(answers: Mapping[str, Answer | str]) -> str:
    told = (f"{step} {_in_words(answer)}" for step, answer in answers.items())
    return "; ".join(told) or "nothing"


def _in_words(answer: Answer | str) -> str:
    return f"«{answer}»" if isinstance(answer, str) else f"({answer.unanswered})"


async def read_until(database: Path, call_sid: str, is_right: Callable[[Record], bool]) -> Record:
    """Return a call's record when it is right, or what there is of it after `WITHIN_S`: rows follow a call in time."""
    deadline = time.monotonic() + WITHIN_S
    while not is_right(record := read(database, call_sid)) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    return record


def read(database: Path, call_sid: str) -> Record:
    """Return what stands there now."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=1.0)) as connection:

        def rows(query: str) -> list[tuple[str | None, ...]]:
            return connection.execute(query, (call_sid,)).fetchall()

        ends = rows("SELECT end_reason FROM calls WHERE call_sid = ?")
        answers = rows("SELECT step, value, unanswered FROM answers WHERE call_sid = ? ORDER BY position")
        breaches = rows("SELECT what, detail FROM breaches WHERE call_sid = ? ORDER BY number")
        spoken = rows("SELECT language FROM turns WHERE call_sid = ? AND who = 'bot' ORDER BY number")
        translated = rows("SELECT kind FROM turns WHERE call_sid = ? AND kind = 'translated'")
    return Record(
        end_reason=ends[0][0] if ends else None,
        answers={step or "": Answer(unanswered=why or "") if value is None else value for step, value, why in answers},
        breaches=tuple(f"{what}: {detail}" if detail else what or "" for what, detail in breaches),
        languages=tuple(language or "" for (language,), _ in groupby(spoken)),
        translated=len(translated),
    )

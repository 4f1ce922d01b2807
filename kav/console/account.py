"""One call as its page tells it: who said what, what was heard of it, what came of it. Pure: rows in, values out.

The rows are those of `kav.records`; of a call that goes on, or is only just over, they are made of its chronicle, so
that the page is never behind.
"""

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Final

from kav.call.conversation import Conversation
from kav.call.flow import Flow

Row = Mapping[str, Any]

JUDGEMENTS: Final = frozenset(
    {"answer_step", "correct_answer", "side_question", "unclear", "transfer_to_human", "end_call"}
)
"""Tools by which the model says what a turn of the caller's was; all others are the business's own."""

AT_ONCE_MS: Final = 1000
"""Whoever speaks so soon after the bot's last word may be counted as speaking over it: its mark was not back yet."""


@dataclass(frozen=True, slots=True)
class Said:
    """One turn, as it is shown."""

    number: int
    who: str
    kind: str
    phrase: str
    begins_ms: int
    """When it began to be heard: a caller's turn is put down when it is over, the bot's words wait for their turn."""
    text: str
    """What was heard, for the bot; what was said, for the caller."""
    unheard: str
    """What the bot would have said, and nobody heard."""
    audio_ms: int
    heard_ms: int
    """Of the bot: how much was heard."""
    cut: bool
    """Not all of it was heard."""
    barge_in: bool
    """The caller spoke over it; what is cut without that was cut by a key, a lost stream or the call's end."""
    language: str
    switched: bool
    """The first turn in another language than the one before."""
    step: str
    judgement: str
    """What the caller's turn was taken for."""
    latency_ms: int | None
    judge_ms: int | None
    marks: tuple[int, ...] = ()
    """When the caller had heard so far, ms."""

    @property
    def ends_ms(self) -> int:
        """When the last of it was heard, or would have been."""
        return self.begins_ms + self.audio_ms

    @property
    def cut_ms(self) -> int:
        """When the bot fell silent."""
        return self.begins_ms + self.heard_ms


@dataclass(frozen=True, slots=True)
class StepDone:
    """A step of the flow, and what it brought."""

    step: str
    question: str
    value: str | None
    unanswered: str
    active: bool
    kind: str = ""
    """Of the answer; empty where the flow no longer has the step."""
    answered: bool = False
    """It has its answer, though `value` may not have been kept."""


@dataclass(frozen=True, slots=True)
class Account:
    """All that a call's page tells of what was said."""

    turns: tuple[Said, ...]
    steps: tuple[StepDone, ...]
    tools: tuple[Row, ...]
    breaches: tuple[Row, ...]
    barge_ins: int
    """How often the caller spoke over the bot, in the whole call."""

    @property
    def side_questions(self) -> int:
        """How often the caller asked something else."""
        return sum(turn.judgement == "side_question" for turn in self.turns)

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that were spoken, in their order."""
        return tuple(dict.fromkeys(turn.language for turn in self.turns if turn.language))

    @property
    def length_ms(self) -> int:
        """Until the last of it."""
        return max((turn.ends_ms for turn in self.turns), default=0)

    def newest(self, turns: int) -> "Account":
        """Return the same of the latest turns only, with what has happened since; the steps stay whole."""
        if len(self.turns) <= turns:
            return self
        latest = self.turns[-turns:]
        since_ms = latest[0].begins_ms
        tools, breaches = (
            tuple(row for row in rows if (row["at_ms"] or 0) >= since_ms) for rows in (self.tools, self.breaches)
        )
        return replace(self, turns=latest, tools=tools, breaches=breaches)


def account(call: Row, flow: Flow | None, active: str = "") -> Account:
    """Tell a call: `call` as `Records.get_call` gives it, `flow` if it is still there, and its active step."""
    tools, counted = call.get("tool_calls") or [], call.get("barge_ins")
    turns = _turns(call.get("turns") or [], [tool for tool in tools if tool["name"] in JUDGEMENTS])
    spoken_over = _spoken_over(turns, counted)
    return Account(
        turns=tuple(replace(turn, barge_in=True) if turn.number in spoken_over else turn for turn in turns),
        steps=tuple(_steps(call.get("answers") or [], flow, active)),
        tools=tuple(tool for tool in tools if tool["name"] not in JUDGEMENTS),
        breaches=tuple(call.get("breaches") or []),
        barge_ins=len(spoken_over) if counted is None else counted,
    )


def of_chronicle(talk: Conversation) -> dict[str, Any]:
    """Return the parts of a call that goes on, as its rows will be."""
    chronicle, answers = talk.chronicle, talk.lock.answers
    return {
        "turns": [
            {
                name: getattr(turn, name)
                for name in (
                    *("number", "who", "kind", "phrase", "at_ms", "text", "heard", "audio_ms", "heard_ms"),
                    *("language", "step", "latency_ms", "judge_ms"),
                )
            }
            | {"marks": tuple(turn.marks)}
            for turn in chronicle.turns
        ],
        "answers": [
            {"step": answer.step, "value": answer.value, "unanswered": answer.unanswered} for answer in answers.values()
        ],
        "breaches": [
            {"number": number, "at_ms": at_ms, "what": breach.what, "detail": breach.detail}
            for number, (at_ms, breach) in enumerate(chronicle.breaches, start=1)
        ],
        "tool_calls": [
            {name: getattr(run, name) for name in ("call_id", "name", "arguments", "output", "at_ms", "duration_ms")}
            for run in chronicle.tools.values()
        ],
        "barge_ins": chronicle.barge_ins,
    }


def _turns(rows: Sequence[Row], judged: Sequence[Row]) -> list[Said]:
    judgements = _judgements(rows, judged)
    told: list[Said] = []
    language, quiet_from = "", 0
    for row in rows:
        spoken = row["language"] or ""
        switched = bool(language and spoken not in ("", language))
        said = _said(row, judgements.get(row["number"], ""), switched, quiet_from)
        quiet_from = said.cut_ms if said.who == "bot" else quiet_from
        language = spoken or language
        told.append(said)
    return told


def _said(row: Row, judgement: str, switched: bool, quiet_from: int) -> Said:
    """`quiet_from`: when the bot's words before it were over."""
    text, audio_ms, by_bot = row["text"] or "", row["audio_ms"] or 0, row["who"] == "bot"
    at_ms = row["at_ms"] or 0
    heard_ms = audio_ms if row["heard_ms"] is None else min(row["heard_ms"], audio_ms)
    cut = by_bot and heard_ms < audio_ms
    heard = (row["heard"] or "") if cut else text
    marks = row.get("marks") or ()
    return Said(
        number=row["number"],
        who=row["who"] or "",
        kind=row["kind"] or "",
        phrase=row["phrase"] or "",
        begins_ms=max(at_ms, quiet_from) if by_bot else max(0, at_ms - audio_ms),
        text=heard.strip(),
        unheard=text[len(heard) :].strip() if text.startswith(heard) else "",
        audio_ms=audio_ms,
        heard_ms=heard_ms,
        cut=cut,
        barge_in=False,
        language=row["language"] or "",
        switched=switched,
        step=row["step"] or "",
        judgement=judgement,
        latency_ms=row["latency_ms"],
        judge_ms=row["judge_ms"],
        marks=tuple(json.loads(marks) if isinstance(marks, str) else marks),
    )


def _spoken_over(turns: Iterable[Said], counted: int | None) -> frozenset[int]:
    """Return the numbers of the turns that the caller spoke over: `counted` of them, the likeliest.

    How often that happened is on record; which turns it cut is not, and keys, lost streams and the call's end cut too.
    Where it was not counted (None), those that there is no doubt about.
    """
    doubts = sorted(_doubts(turns))
    chosen = doubts[:counted] if counted is not None else [doubt for doubt in doubts if not doubt[0]]
    return frozenset(number for *_, number in chosen)


def _doubts(turns: Iterable[Said]) -> Iterator[tuple[int, int, int]]:
    """Yield how doubtful it is that the caller spoke over a turn, the ms between the two, and the turn's number."""
    for bot, caller in _followed(turns):
        apart_ms = abs(caller.begins_ms - bot.cut_ms) if caller is not None else 0
        spoke = caller is not None and caller.kind == "caller" and caller.audio_ms > 0
        if bot.cut and spoke:
            yield 0, apart_ms, bot.number
        elif spoke and apart_ms <= AT_ONCE_MS:
            yield 1, apart_ms, bot.number
        elif bot.cut and (caller is None or caller.kind != "keys"):  # they spoke, and the stream was lost meanwhile
            yield 2, apart_ms, bot.number


def _followed(turns: Iterable[Said]) -> Iterator[tuple[Said, Said | None]]:
    """Yield each of the bot's turns with what the caller said next; None where the bot was the next to speak.

    Those that waited behind another one, and were cut off with it, are no turns of their own here.
    """
    bot: Said | None = None
    for turn in turns:
        if turn.who == "bot" and bot is not None and bot.heard_ms and not turn.heard_ms:
            continue
        if bot is not None:
            yield bot, turn if turn.who == "caller" else None
        bot = turn if turn.who == "bot" else None
    if bot is not None:
        yield bot, None


def _judgements(turns: Sequence[Row], judged: Sequence[Row]) -> dict[int, str]:
    """Return what each turn of the caller's was taken for: a judgement is about the latest turn before it."""
    callers = [(row["number"], row["at_ms"] or 0) for row in turns if row["who"] == "caller"]
    # The latest turn that is not after a moment, though turns may be put down a little out of their order.
    earliest = list(accumulate((at_ms for _, at_ms in reversed(callers)), min))[::-1]
    found: dict[int, str] = {}
    for tool in judged:
        before = bisect_right(earliest, tool["at_ms"] or 0)
        if before:
            found.setdefault(callers[before - 1][0], tool["name"])
    return found


def _steps(answers: Sequence[Row], flow: Flow | None, active: str) -> list[StepDone]:
    """Return the flow's steps with their answers; those that the flow no longer has come last."""
    by_step = {row["step"]: row for row in answers}
    names = list(dict.fromkeys([*(step.id for step in (flow.steps if flow else ())), *by_step]))
    return [_step(name, by_step.get(name), flow, active=name == active) for name in names]


def _step(name: str, answer: Row | None, flow: Flow | None, *, active: bool) -> StepDone:
    step = flow.step(name) if flow is not None else None
    question = step.ask.get(flow.language, "") if flow is not None and step is not None else ""
    value, unanswered = (answer["value"], answer["unanswered"] or "") if answer is not None else (None, "")
    kind, answered = step.kind if step is not None else "", answer is not None and not unanswered
    return StepDone(name, question, value, unanswered, active, kind, answered)

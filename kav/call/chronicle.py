"""What a call brought, in the order in which it happened: who said what and how much of it was heard, what it cost.

The session writes here; the shell takes what is new a few times a second and puts it on record, so that no event waits
for a record. Entries are numbered within the call and may be taken again when more is known of them: the caller's
words come late, and how much was heard of the bot is known when it is cut off.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Final, Literal

from kav.call.audit import Breach
from kav.call.events import Usage
from kav.call.playhead import BYTES_PER_MS, Interruption
from kav.call.ruling import Answer

Who = Literal["caller", "bot"]

MAX_OUTPUT: Final = 2000
"""Characters of a tool's arguments and of its output that are kept."""


LEFT: Final = "The line was lost before the tool had answered; nobody knows whether it did what it was asked."
"""What stands for the output of a tool whose stream was over first; a model that is told of the call reads it."""

MAX_MARKS: Final = 50
"""Marks of one turn that are kept: those of its first twenty seconds or so."""

TELL_AGAIN_S: Final = 4.0
"""How old the account of words that are only being said further may be: most of what costs is telling it again."""

RETOLD: Final = 2
"""Turns of which a process that is killed may not have told the last: the bot's, and the caller's before it."""

TAIL_MS: Final = 100
"""A sentence of which no more than this was cut off was heard: it ends in silence, and the playhead is cautious."""


@dataclass(slots=True)
class Turn:
    """Something that one of the two said; times in ms since the call's first stream began."""

    number: int
    who: Who
    kind: str
    """`caller`, `keys`, or the kind of the bot's reply: `phrase`, `speak`, `answer`; `translated` for the first two
    where the model has translated Kav's own sentences, for the language has none."""
    at_ms: int
    phrase: str = ""
    text: str = ""
    language: str = ""
    step: str = ""
    heard_ms: int | None = None
    """How much of the bot's words the caller heard; None: all of them."""
    latency_ms: int | None = None
    """From the end of the caller's turn to the bot's first sound."""
    judge_ms: int | None = None
    """How much of that the judgement took."""
    audio: dict[str, int] = field(default_factory=dict)
    """Bytes of the bot's audio, by item."""
    marks: list[int] = field(default_factory=list)
    """When the bot's marks came back: at each, the caller had heard all that was sent before it."""
    spoken_ms: int = 0
    """How long the caller spoke, up to `at_ms`, when their turn was over."""

    @property
    def audio_ms(self) -> int:
        """How long the words are."""
        return self.spoken_ms if self.who == "caller" else sum(self.audio.values()) // BYTES_PER_MS

    @property
    def heard(self) -> str:
        """The words of the bot that the caller heard, to the last whole one, in proportion to their sound."""
        if self.heard_ms is None or self.heard_ms >= self.audio_ms - TAIL_MS:
            return self.text
        cut = self.text[: len(self.text) * self.heard_ms // max(1, self.audio_ms)]
        return cut if self.text[len(cut) :].startswith(" ") else cut.rpartition(" ")[0]


@dataclass(slots=True)
class ToolRun:
    """One call of a tool, the judge's among them."""

    call_id: str
    name: str
    arguments: str
    at_ms: int
    output: str = ""
    duration_ms: int | None = None
    ok: bool | None = None
    """Whether it did what it was asked; None: it is not over, or nothing was run, as with the judge's."""


@dataclass(frozen=True, slots=True)
class News:
    """What has happened since the last look; numbers count within the call, from 1."""

    turns: tuple[Turn, ...] = ()
    answers: tuple[tuple[int, Answer], ...] = ()
    """With the position of each."""
    breaches: tuple[tuple[int, int, Breach], ...] = ()
    """Number and ms of each."""
    tools: tuple[ToolRun, ...] = ()
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Pages:
    """The parts of an account that grow with the call: all of them, or those that whoever keeps a copy has not yet."""

    turns: tuple[Turn, ...] = ()
    tools: tuple[tuple[int, ToolRun], ...] = ()
    """With the position of each, from 1; so with the breaches."""
    breaches: tuple[tuple[int, tuple[int, Breach]], ...] = ()


@dataclass(slots=True)
class Chronicle:
    """The account of one call, whatever streams it has."""

    now: float = 0.0
    """When what is being written happened; monotonic seconds."""
    began_at: float | None = None
    turns: list[Turn] = field(default_factory=list)
    breaches: list[tuple[int, Breach]] = field(default_factory=list)
    """Each with its ms."""
    tools: dict[str, ToolRun] = field(default_factory=dict)
    model: str = ""
    """Which one speaks now."""
    usages: dict[str, Usage] = field(default_factory=dict)
    """What each model took."""
    transcribed_s: float = 0.0
    """Seconds of the caller's speech that the transcriber has counted."""
    unreported: int = 0
    """Responses and transcripts of which nobody told what they took: the cost of the rest is not the whole."""
    barge_ins: int = 0
    """How often the caller began to speak while something of the bot's was under way to them, on whichever stream."""
    _answers: dict[str, Answer] = field(default_factory=dict)
    _changed: dict[int, Turn] = field(default_factory=dict)
    _settled: set[int] = field(default_factory=set)
    """Those of them of which more has changed than that they go on."""
    _told_at: dict[int, float] = field(default_factory=dict)
    _new_answers: dict[str, Answer] = field(default_factory=dict)
    _new_tools: dict[str, ToolRun] = field(default_factory=dict)
    _moved_turns: set[int] = field(default_factory=set)
    _moved_tools: set[str] = field(default_factory=set)
    _copied_breaches: int = 0
    _told_breaches: int = 0
    _earlier_turns: int = 0
    """How many there were when this stream began."""
    _told_usage: tuple[Usage, float, int] = (Usage(), 0.0, 0)
    _told_state: tuple[object, ...] = ()
    _speaking: tuple[str, Turn] | None = None
    """The response that is being spoken, and its turn."""
    _caller_items: dict[str, Turn] = field(default_factory=dict)
    _speech_began_at: float | None = None
    _turn_ended_at: float | None = None
    _judge_ms: int | None = None

    @property
    def at_ms(self) -> int:
        """Now, in ms since the call's first stream began."""
        return round((self.now - (self.began_at if self.began_at is not None else self.now)) * 1000)

    def begin(self) -> None:
        """A stream begins; the first of them is where the call's time counts from."""
        self.began_at = self.now if self.began_at is None else self.began_at
        self._turn_ended_at = self._speaking = None
        self._earlier_turns = len(self.turns)
        self.leave_tools()  # those of a process that was killed

    # The caller

    def speech_began(self, *, over_bot: bool) -> None:
        """The caller speaks; `over_bot`: while what the bot says is not known to have been played to its end."""
        self._speech_began_at = self.now
        self.barge_ins += over_bot

    def caller_turn(self, item_id: str, step: str) -> None:
        """The caller has said something; the words come later."""
        self._turn_ended_at, self._judge_ms = self.now, None
        turn = self._caller_items[item_id] = self._turn("caller", "caller", step=step)
        began_at, self._speech_began_at = self._speech_began_at, None
        turn.spoken_ms = round((self.now - began_at) * 1000) if began_at is not None else 0

    def caller_words(self, item_id: str, text: str, seconds: float | None = None) -> None:
        """The words of a turn of the caller's, and how much speech they were made of, where that is said."""
        self.transcribed_s += seconds or 0.0
        self.unreported += seconds is None
        turn = self._caller_items.get(item_id)
        if turn is not None:
            turn.text = text
            self._touch(turn)

    def keyed(self, digits: str, step: str) -> None:
        """The caller has keyed something."""
        self._turn_ended_at, self._judge_ms = self.now, None
        self._turn("caller", "keys", step=step, text=digits)

    def judged(self, language: str, asked_at: float) -> None:
        """The caller's latest turn was judged, which began at `asked_at`; it was in `language`."""
        self._judge_ms = round((self.now - asked_at) * 1000)
        latest = next((turn for turn in reversed(self.turns) if turn.who == "caller"), None)
        if latest is not None:
            latest.language = language
            self._touch(latest)

    # The bot

    def spoke(self, response_id: str, item_id: str, length: int, kind: str, phrase: str, language: str) -> None:
        """The bot sounds: `length` mu-law bytes of an item, of a reply of this kind."""
        if self._speaking is None or self._speaking[0] != response_id:
            self._speaking = (response_id, self._turn("bot", kind, phrase=phrase, language=language))
            self._note_latency(self._speaking[1])
        turn = self._speaking[1]
        turn.audio[item_id] = turn.audio.get(item_id, 0) + length
        self._touch(turn, goes_on=True)

    def words(self, response_id: str, text: str, step: str) -> None:
        """The words of the response that is being spoken, as far as it has said them; `step` is what it asks for."""
        if self._speaking is not None and self._speaking[0] == response_id:
            turn = self._speaking[1]
            turn.text, turn.step = text, step
            self._touch(turn, goes_on=True)

    def spoken(self, response_id: str) -> None:
        """The model has said all of a response; the caller may still be hearing it."""
        if self._speaking is not None and self._speaking[0] == response_id:
            self._touch(self._speaking[1])

    def interrupted(self, cut: Interruption) -> None:
        """What was on its way to the caller was cut off."""
        if cut.truncate is not None:
            self.cut(*cut.truncate)
        for item_id in cut.delete:
            self.cut(item_id, 0)

    def marked(self, item_id: str) -> None:
        """The caller has heard an item up to a mark."""
        turn = self._turn_of(item_id)
        if turn is not None and len(turn.marks) < MAX_MARKS:
            turn.marks.append(self.at_ms)
            self._touch(turn, goes_on=True)

    def cut(self, item_id: str, heard_ms: int) -> None:
        """The caller heard `heard_ms` of an item and no more."""
        turn = self._turn_of(item_id)
        if turn is None:
            return
        items = list(turn.audio)
        before = sum(turn.audio[item] for item in items[: items.index(item_id)]) // BYTES_PER_MS
        heard = before + heard_ms
        turn.heard_ms = heard if turn.heard_ms is None else min(turn.heard_ms, heard)
        self._touch(turn)

    def _turn_of(self, item_id: str) -> Turn | None:
        """Return the bot's turn that an item belongs to: one of the latest."""
        return next((turn for turn in reversed(self.turns) if item_id in turn.audio), None)

    def _note_latency(self, turn: Turn) -> None:
        if self._turn_ended_at is not None:
            turn.latency_ms = round((self.now - self._turn_ended_at) * 1000)
            turn.judge_ms = self._judge_ms
        self._turn_ended_at = self._judge_ms = None

    def _turn(self, who: Who, kind: str, **known: str) -> Turn:
        turn = Turn(len(self.turns) + 1, who, kind, self.at_ms, **known)  # type: ignore[arg-type]  # texts all
        self.turns.append(turn)
        self._touch(turn)
        return turn

    def _touch(self, turn: Turn, *, goes_on: bool = False) -> None:
        self._changed[turn.number] = turn
        self._moved_turns.add(turn.number)
        if not goes_on:
            self._settled.add(turn.number)

    # What came of it

    def answers_are(self, answers: Mapping[str, Answer]) -> None:
        """The script's answers, as they are now."""
        for step, answer in answers.items():
            if self._answers.get(step) != answer:
                self._answers[step] = self._new_answers[step] = answer

    def note(self, breaches: Iterable[Breach]) -> None:
        """The model did what it may not."""
        self.breaches += [(self.at_ms, breach) for breach in breaches]

    def tool_called(self, call_id: str, name: str, arguments: str) -> None:
        """The model calls a tool."""
        run = ToolRun(call_id, name, arguments[:MAX_OUTPUT], self.at_ms)
        self.tools[call_id] = self._new_tools[call_id] = run
        self._moved_tools.add(call_id)

    def tool_finished(self, call_id: str, output: str, ok: bool | None = None) -> None:
        """A tool has come back, or was answered at once."""
        run = self.tools.get(call_id)
        if run is not None:
            run.output, run.duration_ms, run.ok = output[:MAX_OUTPUT], self.at_ms - run.at_ms, ok
            self._new_tools[call_id] = run
            self._moved_tools.add(call_id)

    def leave_tools(self) -> None:
        """A stream is over: nobody hears any more what its tools bring."""
        for run in self.tools.values():
            if run.duration_ms is None:
                self.tool_finished(run.call_id, LEFT, ok=False)

    def used(self, usage: Usage | None) -> None:
        """A response of the model that speaks now has cost so much; None: nobody knows."""
        if usage is None:
            self.unreported += 1
            return
        self.usages[self.model] = self.usages.get(self.model, Usage()).plus(usage)

    @property
    def usage(self) -> Usage:
        """What all models took."""
        return reduce(Usage.plus, self.usages.values(), Usage())

    # What is new

    def news(self, *, whole: bool = True) -> News | None:
        """Return what has happened since the last call of this, or None.

        `whole`: also of a turn that has only gone on and was told a moment ago; else that waits for its next time.
        """
        used = (self.usage, self.transcribed_s, self.unreported)
        usage = self.usage if used != self._told_usage else None
        told, self._told_breaches = self._told_breaches, len(self.breaches)
        turns = tuple(turn for turn in self._changed.values() if whole or self._is_due(turn.number))
        if not (turns or self._new_answers or self._new_tools or usage or told < len(self.breaches)):
            return None
        places = {step: place for place, step in enumerate(self._answers, start=1)}
        news = News(
            turns=turns,
            answers=tuple((places[step], answer) for step, answer in self._new_answers.items()),
            breaches=tuple(
                (number, at_ms, breach) for number, (at_ms, breach) in enumerate(self.breaches[told:], start=told + 1)
            ),
            tools=tuple(self._new_tools.values()),
            usage=usage,
        )
        self._told_usage = used
        self._new_answers, self._new_tools = {}, {}
        for turn in turns:
            del self._changed[turn.number]
            self._settled.discard(turn.number)
            self._told_at[turn.number] = self.now
        return news

    def is_of_this_stream(self, turn: Turn) -> bool:
        """Whether a turn was said since the last stream began."""
        return turn.number > self._earlier_turns

    def retell(self) -> None:
        """What was said last was told by another process, which may have gone before it had told all of it."""
        for turn in self.turns[-RETOLD:]:
            self._touch(turn)

    def _is_due(self, number: int) -> bool:
        return number in self._settled or self.now - self._told_at.get(number, -math.inf) >= TELL_AGAIN_S

    def is_news(self, *state: object) -> bool:
        """Say whether `state`, what holds of the whole call, is another than at the last call of this."""
        before, self._told_state = self._told_state, state
        return state != before

    # What a copy of it lacks

    def pages(self) -> Pages:
        """Return all that grows with the call."""
        return Pages(tuple(self.turns), tuple(enumerate(self.tools.values(), 1)), tuple(enumerate(self.breaches, 1)))

    def moved(self) -> Pages:
        """Return what of that has changed since the last call of this, however long the call is by now."""
        turns, tools, copied = self._moved_turns, self._moved_tools, self._copied_breaches
        self._moved_turns, self._moved_tools, self._copied_breaches = set(), set(), len(self.breaches)
        places = {call_id: place for place, call_id in enumerate(self.tools, 1)} if tools else {}
        return Pages(
            tuple(self.turns[number - 1] for number in sorted(turns)),
            tuple((places[call_id], self.tools[call_id]) for call_id in tools),
            tuple(enumerate(self.breaches[copied:], copied + 1)),
        )

"""What is said in a call that has a script: judge the caller's turn, rule on it, speak; in the caller's language.

`CallSession` asks here which reply is owed; when it is asked for, and whether it was heard, is decided there. Sentences
that must be exact are *phrases*: asked for word for word, compared with what was said, said once more if they differ.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from kav.call.actions import Action, RunTool, SendToolOutput
from kav.call.audit import QUESTION_MARKS, Breach, What, asks, free_words, plain, question_starts
from kav.call.chronicle import Chronicle
from kav.call.events import ToolCalled
from kav.call.farewell import Farewell
from kav.call.flow import Flow, Step
from kav.call.flow_lock import FlowLock
from kav.call.language import LanguageLock, contradicts
from kav.call.recording import RECORDING, is_due
from kav.call.replies import Reply
from kav.call.ruling import Directive, Ruling, Say

RESUME: Final = "resume"
QUESTION: Final = "question"
"""Id of the phrase that is the active step's question, word for word."""

ENDINGS: Final = ("closing", "goodbye", "do_not_call")
"""Phrases after which the call ends."""

SHUTDOWN: Final = "shutdown"
"""Id of the apology that is said when the process stops."""

LAST_WORDS: Final = (*ENDINGS, "transfer")
"""Phrases after which this conversation is over, for the time being at least."""

PHRASE_OF: Final[Mapping[Say, str]] = {
    phrase: phrase for phrase in ("what_else", "transfer", "closing", "goodbye", "do_not_call")
}
"""Directives that are a fixed phrase and nothing else."""

ASKING: Final[tuple[Say, ...]] = ("ask", "ask_again", "not_understood", "no_transfer")
"""Directives that end with the active step's question."""

GREETING: Final = "greeting"

GREETED_AT_MOST: Final = 3
"""How often one stream begins with the greeting: who has only heard the end of it does not know who is speaking."""

HEARD_SHARE: Final = 0.8
"""The part of a greeting, or of a value that is read back, that must be heard before anybody says yes to it."""

MESSAGE: Final = "message"
"""Id of the step that is asked when nobody is there to hand over to, and no other step is left."""


@dataclass(slots=True)
class Conversation:
    """The script's side of one call; survives a lost stream, so that the step is kept."""

    flow: Flow
    phrases: Mapping[str, Mapping[str, str]]
    """The exact texts, by language and id: those of the language and those of the flow."""
    caller_number: str = ""
    lock: FlowLock = field(init=False)
    language: LanguageLock = field(init=False)
    farewell: Farewell = field(default_factory=Farewell)
    chronicle: Chronicle = field(default_factory=Chronicle)
    do_not_call: bool = False
    """The caller has asked never to be called."""
    handing_over: bool = False
    """The hand-over to a human was announced to its end; it happens when the caller has heard that."""
    shutting_down: bool = False
    """The process stops: whatever the caller still says is answered with the apology alone."""
    _again: bool = False
    """The turn that is judged next is one that was judged before."""
    _turn: str = ""
    """Item of the caller's turn that is being judged; the words of any other say nothing about it."""
    _words: str | None = None
    """What was said in it, once that is known."""
    _retried: bool = False
    """The phrase under way is said for the second time."""
    _greetings: int = 0
    _greeted: bool = True
    """Whether the caller has heard who is speaking, as far as this stream was to say so."""

    def __post_init__(self) -> None:
        self.lock = FlowLock(self.flow, self.caller_number)
        self.language = LanguageLock(self.flow.language)

    # What is owed

    def opening(self, phrase: str) -> Reply:
        """Return how the stream opens: the greeting, or the word that it goes on, and the active question."""
        self.lock.ask_anew()
        self._greetings += phrase == GREETING
        self._greeted = self._greeted or phrase != GREETING
        if phrase == "nobody_answers" and self.lock.active is None and self.flow.steps:
            self._take_message()
        active, language = self.lock.active, self.language.current
        if active is None:
            return self._phrase(phrase)
        words = f"{self._text(phrase)} {active.ask.get(language, '')}" if self._text(phrase) else ""
        return Reply("phrase", phrase, text=words.strip(), language=language)

    @property
    def leaving(self) -> bool:
        """Whether the last words were said, and only have to be heard to their end."""
        return self.farewell.said or self.handing_over

    def begin_stream(self) -> None:
        """A stream begins: last words that were lost with another are none."""
        self.farewell.lose()
        self.handing_over = False
        self.chronicle.begin()

    def reopening(self, pending: Sequence[Reply], *, unheard: bool, answer_waits: bool) -> Reply:
        """Return what is said when a lost model has come back, while `pending` was still to be said.

        `unheard`: the caller has heard nothing at all yet. `answer_waits`: a tool works for an answer, or is back,
        and that answer ends with a question of its own.
        """
        last = pending[-1] if pending else None
        again = last is not None and last.kind == "phrase" and (unheard or last.phrase in LAST_WORDS)
        if again and last is not None:
            return last
        return self._phrase("resumed") if answer_waits else self.opening("resumed")

    def judge_again(self) -> Reply:
        """Return the judgement of a turn whose own was cut off, for the question that is open now."""
        return self._judgement()

    def unsaid(self) -> None:
        """What was to be said next is not said: something that the caller has said besides is judged first."""
        self.lock.unsaid()

    def _take_message(self) -> None:
        """Nobody is there to hand over to, and all was asked: what the caller wants to be told is one step more."""
        if self.flow.step(MESSAGE) is not None:  # it was left once, and somebody else was asked for
            self.lock.return_to(MESSAGE)
            return
        texts = {language: phrases["take_message"] for language, phrases in self.phrases.items()}
        self.lock.add(Step(MESSAGE, texts, optional=True))
        self.flow = self.lock.flow
        self.lock.ask_anew()

    def turn(self, item_id: str) -> Reply:
        """Return what follows a turn of the caller's: it is judged, or, where there are no steps, answered."""
        self._turn, self._words, self._again = item_id, None, False
        self.language.turn()
        self.chronicle.caller_turn(item_id, self.open_question[0])
        if self.shutting_down:
            return self._phrase(SHUTDOWN)
        return self._judgement() if self.flow.steps else Reply("answer", language=self.language.current)

    def shut_down(self, saying: Reply | None) -> Reply | None:
        """The process stops: return the apology, or None where the call ends by itself, for `saying` is its last word.

        A goodbye or a hand-over that has begun is carried through.
        """
        self.shutting_down = True
        ends = self.farewell.said or self.handing_over or (saying is not None and saying.phrase in LAST_WORDS)
        return None if ends else self._phrase(SHUTDOWN)

    def of_recording(self, before: Reply | None = None) -> Reply | None:
        """Return the word that the call is recorded, where the caller has not heard it yet.

        `before`: what is said after it; a greeting that begins with it needs no other.
        """
        if (before is not None and before.kind == "judge") or not is_due(self.flow.recording, self.chronicle.turns):
            return None
        told = self._phrase(RECORDING)
        included = before is not None and told.text and plain(before.text).startswith(plain(told.text))
        return None if included else told

    def notice_limit(self) -> Reply:
        """Return the word that the call's time is nearly over."""
        return self._phrase("limit_notice")

    def presence(self) -> Reply:
        """Return the question whether the caller is still there."""
        self.lock.heard()  # whatever was asked before the silence
        self.lock.check_presence()
        return self._phrase("still_there")

    def judged(self, tool: str, arguments: str, asked_at: float, call_id: str) -> Reply:
        """Rule on the judge's call (arguments as JSON text); return what is to be said, or that it judges once more.

        `asked_at`: when the judgement was asked for.
        """
        self.chronicle.tool_called(call_id, tool, arguments)
        reply = self._judge(tool, arguments)
        self.chronicle.tool_finished(call_id, reply.directive.say if reply.directive is not None else reply.phrase)
        self.chronicle.judged(self.language.current, asked_at)
        return reply

    def _judge(self, tool: str, arguments: str) -> Reply:
        again, self._again = self._again, False
        try:
            told = json.loads(arguments)
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict):
            return self._breach_and_reask("broken arguments", tool)
        self._hear_language(told.get("language"))
        ruling = self.lock.judge(tool, told, again=again)
        if ruling.breach:
            self.note(Breach("judge", ruling.breach))
        return self._ruled(ruling)

    def _ruled(self, ruling: Ruling) -> Reply:
        self.chronicle.answers_are(self.lock.answers)
        if ruling.again or ruling.retry:
            self._again = ruling.again
            return self._judgement(refused=ruling.retry)
        self.do_not_call = self.do_not_call or ruling.directive.say == "do_not_call"
        return self._speech(ruling.directive)

    @property
    def open_question(self) -> tuple[str, str]:
        """Which question an entry of keys is for: another one's it cannot answer."""
        active = self.lock.active
        return (active.id if active is not None else "", self.lock.question)

    def keyed(self, digits: str) -> Reply:
        """Rule on an entry of keys: it needs no judge."""
        if self.shutting_down:
            return self._phrase(SHUTDOWN)
        if self.lock.active is not None or self.flow.steps:
            return self._ruled(self.lock.keyed(digits))
        if not digits:
            return self._phrase("not_understood")
        return Reply("answer", language=self.language.current, directive=Directive("keyed", value=digits))

    def unjudged(self) -> Reply:
        """The model did not judge, though it must: nothing is taken from the turn, and the question is asked again."""
        self._again = False
        return self._breach_and_reask("no judgement")

    def _hear_language(self, language: object) -> None:
        """Follow the caller's language; where their words are known already, the switch is checked at once."""
        if self.language.judged(language) and self._words is not None:
            self.transcribed(self._turn, self._words)

    def transcribed(self, item_id: str, text: str) -> None:
        """Take the transcript of a turn of the caller's: the only check there is on the judge's ear."""
        if item_id != self._turn:
            return
        self._words = text
        if not self.flow.steps:
            self.language.follow(text, (*self.flow.languages, *self.phrases))
        elif self.language.transcribed(text):
            self.note(Breach("language switched without evidence"))

    @property
    def breaches(self) -> list[Breach]:
        """What the model did so far that it may not."""
        return [breach for _, breach in self.chronicle.breaches]

    def note(self, *breaches: Breach) -> None:
        """Put breaches on record."""
        self.chronicle.note(breaches)

    # Tools

    def tool_called(self, event: ToolCalled, answer: Iterable[Action]) -> None:
        """The model has called a tool of its own accord: put on the account what became of that."""
        kinds = [type(action) for action in answer]
        if RunTool in kinds:
            self.chronicle.tool_called(event.call_id, event.name, event.arguments)
        elif SendToolOutput in kinds:
            self.note(Breach("tool not offered", event.name))

    def tools_back(self, answers: Iterable[Action], *, ok: bool) -> None:
        """Put what tools have brought on the account; `ok`: whether they did what they were asked."""
        for action in answers:
            if isinstance(action, SendToolOutput):
                self.chronicle.tool_finished(action.call_id, action.output, ok)

    # What became of it

    def sounds(self, reply: Reply, response_id: str, item_id: str, length: int) -> None:
        """The bot sounds: `length` bytes of a reply."""
        kind = "translated" if self._translates(reply) else reply.kind
        self.chronicle.spoke(response_id, item_id, length, kind, reply.phrase, reply.language)

    def _translates(self, reply: Reply) -> bool:
        """Whether sentences of Kav's own stand in a reply in the model's words, for its language has none."""
        if reply.kind == "phrase":
            return not reply.text
        return reply.kind == "speak" and reply.language not in self.phrases

    def words_said(self, reply: Reply, response_id: str, words: str) -> None:
        """The bot's words of a reply, as far as it has said them."""
        step = reply.directive.step if reply.directive is not None else self.open_question[0]
        self.chronicle.words(response_id, words, step)

    def said(self, reply: Reply, transcript: str) -> Reply | None:
        """Take what was said to its end; return what must be said on top of it, if anything."""
        if reply.kind == "answer":
            self._answered(transcript)
            return None
        if reply.kind == "phrase":
            if contradicts(transcript, reply.language):
                self.note(Breach("wrong language", reply.language))
            return self._phrase_said(reply, transcript)
        self.note(*free_words(transcript, reply.language, self._exact_question(reply), self._endings()))
        return self._missing(reply, transcript)

    def _missing(self, reply: Reply, transcript: str) -> Reply | None:
        """Return the question that a reply should have ended with, if it did not."""
        say, wanted = reply.directive.say if reply.directive is not None else "talk", self._exact_question(reply)
        if not plain(wanted):  # in a language without texts: there is nothing exact to ask for
            return None
        if say == "answer_then_resume" and not plain(transcript).endswith(plain(wanted)):
            self.note(Breach("resume phrase missing"))
            return self._phrase(RESUME)
        if say in ASKING and transcript and not asks(transcript, wanted):
            self.note(Breach("question not asked", reply.directive.step if reply.directive is not None else ""))
            return Reply("phrase", QUESTION, text=wanted, language=reply.language)
        return None

    def _exact_question(self, reply: Reply) -> str:
        """Return the words that a reply is to end with, in its language; none where the model chooses or translates."""
        directive = reply.directive
        if directive is not None and directive.say == "answer_then_resume":
            return self._text(RESUME, reply.language)
        step = self.flow.step(directive.step) if directive is not None and directive.say in ASKING else None
        return step.ask.get(reply.language, "") if step is not None else ""

    def _endings(self) -> list[str]:
        return [self._text(phrase) for phrase in ENDINGS]

    def _answered(self, transcript: str) -> None:
        """Where there are no steps, the flow's own closing at an answer's end is the goodbye."""
        closings = [plain(text) for text in self.flow.closing.values() if plain(text)]
        if plain(transcript).endswith(tuple(closings)) and closings:
            self.farewell.say()

    def _phrase_said(self, reply: Reply, transcript: str) -> Reply | None:
        exact = not reply.text or plain(transcript) == plain(reply.text)
        retried, self._retried = self._retried, False
        if not exact and not retried and reply.phrase != RECORDING:  # that comes again by itself, before a later turn
            self._retried = True
            return replace(reply, attempts=0)
        if not exact:
            self.note(Breach("phrase not exact", reply.phrase))
        self._greeted = self._greeted or reply.phrase == GREETING
        if reply.phrase in (*ENDINGS, SHUTDOWN):
            self.farewell.say("shutdown" if reply.phrase == SHUTDOWN else "goodbye")
        self.handing_over = self.handing_over or reply.phrase == "transfer"
        return None

    def hand_over(self) -> bool:
        """Return whether the call is handed over now; a call that comes back from there is not handed over again."""
        handing_over, self.handing_over = self.handing_over, False
        return handing_over

    def caller_speaks(self) -> bool:
        """The caller speaks: hanging up and handing over are taken back; return whether the call ends all the same."""
        self.handing_over = False
        return self.farewell.interrupt()

    def heard(self) -> None:
        """The active question, or all there was to hear, has begun to be heard."""
        self.lock.heard()

    def interrupted(
        self, transcript: str, heard_share: float, *, whole: bool = True, reply: Reply | None = None
    ) -> None:
        """The caller spoke over a reply of which `heard_share` (0..1) was heard: was its question begun?

        `whole`: the reply was complete; one that was not may still have had its question before it.
        """
        heard = heard_share * len(transcript)
        if reply is not None and reply.phrase == RECORDING:  # the question comes after it
            transcript = ""
        if reply is not None and reply.phrase == GREETING:
            self._greeted = heard >= HEARD_SHARE * len(self._text(GREETING, reply.language))
        begins = question_starts(transcript)
        if self.lock.question == "confirm":  # "Herzl ten, flat four, right?" is one sentence
            begins = max(begins, round(HEARD_SHARE * len(transcript)))
        there = whole or any(mark in transcript for mark in QUESTION_MARKS)
        if transcript and there and heard >= begins:
            self.lock.heard()
        else:
            self.lock.cut()
        self._retried = False

    # Words

    def _speech(self, directive: Directive) -> Reply:
        if directive.say == "not_understood" and not self._greeted and self._greetings < GREETED_AT_MOST:
            return self.opening(GREETING)  # a "hello?" over the greeting: they are still to hear who this is
        self._greeted = self._greeted or directive.say != "not_understood"  # they are in a conversation by now
        phrase = PHRASE_OF.get(directive.say)
        if phrase == "what_else" and self.flow.transfer is None:
            phrase = "what_else_no_transfer"
        self.lock.asked(directive)
        return self._phrase(phrase) if phrase is not None else self._spoken(directive)

    def _spoken(self, directive: Directive) -> Reply:
        return Reply("speak", language=self.language.current, directive=directive)

    def _phrase(self, phrase: str) -> Reply:
        return Reply("phrase", phrase, text=self._text(phrase), language=self.language.current)

    def _judgement(self, *, refused: str = "") -> Reply:
        """Return the judgement of the caller's turn, shown the question that is open now.

        `refused`: what was wrong with the judgement before.
        """
        active = self.lock.active
        context = "more" if self._again and self.lock.question == "confirm" else self.lock.context
        directive = Directive("ask", active.id if active is not None else "", value=refused, why=context)
        return Reply("judge", language=self.language.current, directive=directive)

    def _breach_and_reask(self, what: What, detail: str = "") -> Reply:
        self.note(Breach(what, detail))
        return self._speech(self.lock.reask())

    def _text(self, phrase: str, language: str = "") -> str:
        """Return the exact words of a phrase; none in a language without texts, which the model translates."""
        own = {GREETING: self.flow.greeting, "closing": self.flow.closing, RECORDING: self.flow.recording}
        language = language or self.language.current
        if phrase == "transfer" and self.flow.transfer is not None:
            own["transfer"] = self.flow.transfer.announcement
        return own.get(phrase, {}).get(language) or self.phrases.get(language, {}).get(phrase, "")

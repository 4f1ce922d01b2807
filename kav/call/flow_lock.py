"""The flow lock: exactly one question is active, and only an accepted answer moves the flow on.

Every turn of the caller is judged by the model (one tool call), and ruled on here: what is recorded, which question is
active next, and what the bot is to say. The model is only ever shown the active question; what it claims about any
other is refused and noted as a breach.

Questions of Kav's own (shall we go on? are you there? is this right? what else?) have a state of their own, so that a
bare yes or no to one of them never answers the step behind it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from kav.call.answers import Accepted, check, yes_or_no
from kav.call.flow import Flow, Step
from kav.call.keypad import YES_NO, by_keys, keys_wanted, takes_digits

Tool = Literal["answer_step", "correct_answer", "side_question", "unclear", "transfer_to_human", "end_call"]
TOOLS: Final[tuple[Tool, ...]] = (
    "answer_step",
    "correct_answer",
    "side_question",
    "unclear",
    "transfer_to_human",
    "end_call",
)

Question = Literal["step", "confirm", "resume", "still_there", "what_else", "none"]
MAX_NAME: Final = 64
"""Characters of a name that the model has made up."""

OWN_QUESTIONS: Final = ("resume", "still_there", "what_else")
"""Questions of Kav's that are no step's."""

Say = Literal[
    "ask",  # acknowledge, then ask the active step
    "ask_again",  # ask the active step again, without an acknowledgement
    "not_understood",  # say so, and ask the active question again
    "confirm",  # read the value back and ask whether it is right
    "answer_then_resume",  # answer the caller's question, then the resume phrase
    "what_else",  # what else, a person, or goodbye
    "transfer",  # announce the hand-over
    "no_transfer",  # nobody to hand over to; ask the active question again
    "closing",  # the steps are done: the flow's closing, then the end
    "goodbye",  # they are not, but the caller leaves: a goodbye that claims nothing, then the end
    "do_not_call",  # the caller asks never to be called: a word that it is so, then the end
    "keyed",  # no question is open, and the caller has pressed keys: answer to them
    "talk",  # no steps are left: answer freely and briefly
]


@dataclass(frozen=True, slots=True)
class Directive:
    """What the bot is to say next. `step` and `value` are those of the active question; `why` is for the model."""

    say: Say
    step: str = ""
    value: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a step brought: a value, or why there is none (`dont_know`, `not_understood`, `refused`, `invalid`)."""

    step: str
    value: str | None
    unanswered: str = ""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What follows from one judgement.

    `again`: the same turn holds more, and is judged once more. `breach`: what the model did that it may not.
    """

    directive: Directive
    again: bool = False
    breach: str = ""


@dataclass(slots=True)
class FlowLock:
    """Which question is active, what was answered, and what may be said next."""

    flow: Flow
    caller_number: str = ""
    question: Question = "none"
    began: bool = False
    """Whether the active question began to be heard, or its answer was volunteered."""
    answers: dict[str, Answer] = field(default_factory=dict)
    _before: Question = "step"
    """The question that was open when Kav asked whether the caller is there."""
    _active: str | None = None
    _asks: int = 0
    _counted: bool = False
    """Whether what is being said counts as an ask."""
    _cut: bool = False
    """Whether it was cut off before its question began."""
    _pending: str | None = None
    """A value that waits for the caller's yes."""

    def __post_init__(self) -> None:
        if self.flow.steps:
            self._active, self.question = self.flow.steps[0].id, "step"

    @property
    def active(self) -> Step | None:
        """The step whose question is active, or that Kav will return to; None when the steps are done."""
        return self.flow.step(self._active) if self._active is not None else None

    @property
    def done(self) -> bool:
        """Whether no step is left."""
        return self._active is None

    @property
    def completed(self) -> bool | None:
        """Whether the flow was gone through to its end, each step that was asked with its answer; None: it has none.

        A step that may stay open is content with "I do not know"; one that was given up is not.
        """
        if not self.flow.steps:
            return None
        return self.done and not any(self._left_open(answer) for answer in self.answers.values())

    def _left_open(self, answer: Answer) -> bool:
        step = self.flow.step(answer.step)
        may_stay_open = step is not None and step.optional and answer.unanswered == "dont_know"
        return answer.value is None and not may_stay_open

    def ask_anew(self) -> None:
        """A stream begins: whichever question was open before, the active step's own is being asked."""
        self._pending = None
        step = self.active
        if step is not None and step.id in self.answers:  # given up, and handed to a human, who was not there
            self._go_to(self.flow.after(step, None))
        if self._active is not None:
            self.asked(self._ask_active("ask"))

    def add(self, step: Step) -> None:
        """Ask one thing more, now that all others are done."""
        self.flow = replace(self.flow, steps=(*self.flow.steps, step))
        self._go_to(step.id)

    def return_to(self, step_id: str) -> None:
        """Ask a step once more that was done."""
        self._go_to(step_id)

    def asked(self, directive: Directive) -> None:
        """Note that what `directive` says is being said: its question is the one that is open now."""
        self.began = self._cut = False
        self._counted = directive.say in ("ask", "ask_again", "not_understood", "no_transfer")
        self._asks += self._counted

    def heard(self) -> None:
        """Note that the active question began to be heard; one that was cut off before it will not any more."""
        self.began = not self._cut

    def cut(self) -> None:
        """Note that the caller spoke before the question began: it was not asked, and the one before it stands."""
        if self.question == "still_there":
            self.question = self._before
            return
        if not (self.began or self._cut):
            self._cut = True
            self._asks = max(0, self._asks - self._counted)

    def check_presence(self) -> None:
        """Note that Kav asks whether the caller is still there."""
        if self.question not in ("none", "still_there"):
            self._before, self.question = self.question, "still_there"

    # Judgements

    def judge(self, tool: str, arguments: Mapping[str, object], *, again: bool = False) -> Ruling:
        """Rule on one tool call; `again`: the second judgement of a turn that held more than one thing."""
        rule = {
            "answer_step": self._answer,
            "correct_answer": self._correct,
            "side_question": self._side_question,
            "unclear": self._unclear,
            "transfer_to_human": self._transfer,
            "end_call": self._end,
        }.get(tool)
        if rule is None:
            return Ruling(self._reask(f"there is no tool {tool[:MAX_NAME]}"), breach=f"called {tool[:MAX_NAME]}")
        self.began = self.began or again  # what is volunteered in the same breath needs no question
        ruling = rule(arguments)
        if again and tool == "unclear":
            return Ruling(self._ask_active("ask"))  # nothing more was in it after all
        return ruling if not again else Ruling(ruling.directive, breach=ruling.breach)

    def keys_wanted(self) -> int:
        """Return how many digits answer the open question, 0 where any number may."""
        if self.active is None:
            return 0
        if self.question in (*OWN_QUESTIONS, "confirm"):  # a yes or no, or the value itself at once
            return 0 if takes_digits(self.active) else 1
        return keys_wanted(self.active)

    def keyed(self, digits: str) -> Ruling:
        """Rule on what the caller has keyed; empty digits are an entry that was cleared."""
        step = self.active
        if step is None:
            return Ruling(Directive("keyed", value=digits))
        bare = YES_NO.get(digits)
        if bare is not None and self.question in (*OWN_QUESTIONS, "confirm"):
            return self._answer({"value": bare})
        if not digits or (len(digits) == 1 and not self.began):
            return Ruling(self._reask("the question is still open"))  # one key is a code: for what, if not for this?
        value = by_keys(step, digits)
        if value is None:
            return self._failed(step, "invalid", "these keys do not answer the question")
        return replace(self._answer({"value": value}), breach="")

    def _answer(self, arguments: Mapping[str, object]) -> Ruling:
        value = arguments.get("value")
        bare = yes_or_no(str(value)) if isinstance(value, str | bool) else None
        if isinstance(value, bool):
            bare = "yes" if value else "no"
        if bare is not None and not self.began and self.question in ("confirm", "what_else"):
            return Ruling(self._reask("that was not heard"))  # and nobody says yes or no to what he has not heard
        if self.question in OWN_QUESTIONS and bare is not None:
            return Ruling(self._answer_to_kav(bare))
        step = self.active
        if step is None:
            return Ruling(Directive("talk"))
        if arguments.get("step", step.id) != step.id:
            return Ruling(self._reask(f"only {step.id} is asked now"), breach=f"answered {arguments.get('step')}")
        if self.question == "confirm" and bare is not None:
            return self._confirmed(step, bare, arguments)
        if bare is not None and not self.began:
            return Ruling(
                self._reask("that question was not asked yet"), breach=f"answered {step.id} before it was asked"
            )
        checked = check(step, value, self.caller_number)
        if not isinstance(checked, Accepted):
            return self._failed(step, "invalid", checked.why, breach=f"invalid value for {step.id}")
        if step.confirm:
            self._pending, self.question = checked.value, "confirm"
            return Ruling(Directive("confirm", step.id, checked.value))
        return self._accept(step, checked.value, arguments)

    def _answer_to_kav(self, said: str) -> Directive:
        """A bare yes or no to a question of Kav's own; it never answers the step."""
        if said == "no" and self.question == "resume":
            self.question = "what_else"
            return Directive("what_else")
        if said == "no" and self.question == "what_else":
            return self._close()
        return self._ask_active("ask_again")

    def _confirmed(self, step: Step, said: str, arguments: Mapping[str, object]) -> Ruling:
        value, self._pending = self._pending, None
        if said == "yes" and value is not None:
            return self._accept(step, value, arguments)
        self.question = "step"
        if self._asks >= step.max_asks:
            return Ruling(self._give_up_on(step, "refused"))
        return Ruling(self._ask_active("ask_again"))

    def _accept(self, step: Step, value: str, arguments: Mapping[str, object]) -> Ruling:
        self.answers[step.id] = Answer(step.id, value)
        self._go_to(self.flow.after(step, value))
        more = arguments.get("more") is True and self._active is not None
        return Ruling(self._ask_active("ask"), again=more)

    def _correct(self, arguments: Mapping[str, object]) -> Ruling:
        """A completed step gets another value; the lock does not move."""
        step = self.flow.step(str(arguments.get("step", "")))
        if step is None or step.id not in self.answers:
            return Ruling(self._reask("only a step that was answered can be corrected"), breach="corrected no answer")
        if step.id == self._active:  # it was given up, and the caller did not leave after all
            return self._answer(arguments)
        checked = check(step, arguments.get("value"), self.caller_number)
        if not isinstance(checked, Accepted):
            return Ruling(self._reask(checked.why), breach=f"invalid value for {step.id}")
        self.answers[step.id] = Answer(step.id, checked.value)
        return Ruling(self._ask_active("ask"), again=arguments.get("more") is True)

    def _side_question(self, _: Mapping[str, object]) -> Ruling:
        if self.active is None:
            return Ruling(Directive("talk"))
        self.question = "resume"
        return Ruling(Directive("answer_then_resume", self.active.id))

    def _unclear(self, arguments: Mapping[str, object]) -> Ruling:
        step = self.active
        if step is None:
            return Ruling(Directive("talk"))
        reason = str(arguments.get("reason", "not_understood"))
        if reason == "dont_know" and step.optional:
            return Ruling(self._give_up_on(step, reason))
        return self._failed(step, reason)

    def _failed(self, step: Step, reason: str, why: str = "", *, breach: str = "") -> Ruling:
        """The step has no answer yet: its question is asked again, as often as the flow has patience."""
        if self._asks >= step.max_asks:
            return Ruling(self._give_up_on(step, reason), breach=breach)
        self._asks += self.question == "confirm"  # a read-back is no ask, but it cannot go on for ever either
        return Ruling(self._reask(why), breach=breach)

    def _give_up_on(self, step: Step, reason: str) -> Directive:
        """The step stays unanswered, on record, and the flow goes on as the flow file says."""
        self.answers[step.id] = Answer(step.id, None, unanswered=reason)
        may_stay_open = reason == "dont_know" and step.optional
        if not may_stay_open and step.give_up == "transfer" and self.flow.transfer is not None:
            return Directive("transfer")
        if not may_stay_open and step.give_up == "end":
            return self._close()
        self._go_to(self.flow.after(step, None))
        return self._ask_active("ask")

    def _transfer(self, _: Mapping[str, object]) -> Ruling:
        return Ruling(Directive("transfer") if self.flow.transfer is not None else self._ask_active("no_transfer"))

    def _end(self, arguments: Mapping[str, object]) -> Ruling:
        if arguments.get("do_not_call") is True:
            self.question = "none"
            return Ruling(Directive("do_not_call"))
        return Ruling(self._close())

    # Where the lock stands

    def _go_to(self, step_id: str | None) -> None:
        self._active, self._asks, self._pending, self.began = step_id, 0, None, False
        self.question = "step" if step_id is not None else "none"

    def _ask_active(self, how: Literal["ask", "ask_again", "no_transfer"]) -> Directive:
        if self._active is None:
            return self._close()
        if self._pending is not None:
            self.question = "confirm"
            return Directive("confirm", self._active, self._pending)
        self.question = "step"
        return Directive(how, self._active)

    def _reask(self, why: str) -> Directive:
        """Ask the question that is open again, whichever it is."""
        if self._active is None:
            return Directive("talk", why=why)
        if self.question == "confirm" and self._pending is not None:
            return Directive("confirm", self._active, self._pending, why)
        if self.question == "what_else":
            return Directive("what_else", why=why)
        self.question = "step"
        return Directive("not_understood", self._active, why=why)

    def _close(self) -> Directive:
        self.question = "none"
        return Directive("closing" if self.done else "goodbye")

"""The flow lock: exactly one question is active, and only an accepted answer moves the flow on.

Every turn of the caller is judged by the model (one tool call), and ruled on here: what is recorded, which question is
active next, and what the bot is to say. The model is only ever shown the active question; what it claims about any
other is refused and noted as a breach.

Questions of Kav's own (shall we go on? are you there? is this right? what else?) have a state of their own, so that a
bare yes or no to one of them never answers the step behind it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Literal

from kav.call.answers import Accepted, check, yes_or_no
from kav.call.flow import Flow, Step
from kav.call.keypad import YES_NO, by_keys, keys_wanted, takes_digits
from kav.call.ruling import Answer, Context, Directive, Question, Ruling

MAX_NAME: Final = 64
"""Characters of a name that the model has made up."""

OWN_QUESTIONS: Final = ("resume", "still_there", "what_else")
"""Questions of Kav's that are no step's."""

GOODBYES: Final = ("closing", "goodbye", "do_not_call")

FAILABLE: Final = ("ask", "ask_again", "not_understood", "no_transfer", "confirm")
"""What asks for the active step's answer, so that it can be failed."""

VAGUE_AT_MOST: Final = 3
"""How many turns in a row may bring nothing where no step is asked; then the caller is said goodbye to."""

GOES_ON_AT_MOST: Final = 2
"""How often an answer that the caller has spoken over is taken up again for one who said nothing against it."""


@dataclass(slots=True)
class FlowLock:
    """Which question is active, what was answered, and what may be said next."""

    flow: Flow
    caller_number: str = ""
    question: Question = "none"
    began: bool = False
    """Whether the active question began to be heard."""
    answers: dict[str, Answer] = field(default_factory=dict)
    _before: Question = "step"
    """The question that was open when Kav asked whether the caller is there."""
    _active: str | None = None
    _failures: int = 0
    """How often the active question was heard and not answered."""
    _saying: Directive | None = None
    """What is being said, or was said last."""
    _cut: bool = False
    """Whether it was cut off before its question began."""
    _gone_on: int = 0
    """How often the answer to a question of the caller's was taken up again."""
    _rejudged: bool = False
    """Whether a judgement was asked for once more since the bot last spoke."""
    _refused: str = ""
    """What was wrong with the one before."""
    _vague: int = 0
    """How many turns in a row brought nothing."""
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
        return bool(answer.unanswered) and not may_stay_open

    @property
    def context(self) -> Context:
        """What the caller's turn is judged against, whatever they have spoken over included."""
        say = self._saying.say if self._saying is not None and self.question != "still_there" else ""
        if say == "transfer":
            return "transfer"
        if say in GOODBYES:
            return "goodbye"
        if say == "talk" and not self._cut:
            return "what_else"
        return "answer" if say == "talk" or self._answer_was_cut else self.question

    @property
    def _answer_was_cut(self) -> bool:
        """Whether the caller spoke over the answer to their own question, before they were asked whether to go on."""
        return self._cut and self._saying is not None and self._saying.say == "answer_then_resume"

    def ask_anew(self) -> None:
        """A stream begins: whichever question was open before, the active step's own is being asked."""
        self._pending = self._saying = None
        step = self.active
        if step is not None and step.id in self.answers:  # given up, and handed to a human, who was not there
            self._go_to(self._first_open())
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
        self.began = self._cut = self._rejudged = False
        self._refused = ""
        self._saying = directive
        self._gone_on = self._gone_on if directive.say == "answer_then_resume" else 0

    def heard(self) -> None:
        """Note that the active question began to be heard; one that was cut off before it will not any more."""
        self.began = not self._cut

    def unsaid(self) -> None:
        """Note that what was ruled to be said next is not said: the turn is judged first, or another one is."""
        self.began, self._cut, self._saying = False, True, None

    def cut(self) -> None:
        """Note that the caller spoke before the question began: it was not asked, and the one before it stands."""
        if self.question == "still_there":
            self.question = self._before
            return
        self._cut = not self.began
        if self._cut and self.question == "resume":
            self.question = "confirm" if self._pending is not None else "step"

    def check_presence(self) -> None:
        """Note that Kav asks whether the caller is still there."""
        if self.question not in ("none", "still_there"):
            self._before, self.question = self.question, "still_there"

    # Judgements

    def judge(self, tool: str, arguments: Mapping[str, object], *, again: bool = False) -> Ruling:
        """Rule on one tool call; `again`: the second judgement of a turn that held more than one thing."""
        rules: Mapping[str, Callable[[Mapping[str, object]], Ruling]] = {
            "answer_step": partial(self._answer, again=again),
            "correct_answer": partial(self._correct, again=again),
            "side_question": self._side_question,
            "unclear": self._unclear,
            "transfer_to_human": self._transfer,
            "end_call": self._end,
        }
        rule = rules.get(tool)
        if rule is None:
            return Ruling(self.reask(f"there is no tool {tool[:MAX_NAME]}"), breach=f"called {tool[:MAX_NAME]}")
        if again and tool == "unclear":
            return Ruling(self._ask_active("ask"))  # nothing more was in it after all
        self._vague = self._vague + 1 if tool == "unclear" else 0
        ruling = rule(arguments)
        if ruling.again and not again:
            self.unsaid()
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
            return Ruling(self.reask("the question is still open"))  # one key is a code: for what, if not for this?
        value = by_keys(step, digits)
        if value is None:
            return self._failed(step, "invalid", "these keys do not answer the question")
        self._rejudged = True  # nobody has judged this
        return replace(self._answer({"value": value}), breach="")

    def _answer(self, arguments: Mapping[str, object], *, again: bool = False) -> Ruling:
        value, bare, step = arguments.get("value"), _bare(arguments.get("value")), self.active
        if again and self.question == "confirm":
            return Ruling(self._ask_active("ask"))  # its value is noted, and whatever this is it is none of it
        heard = self.began or again  # what is volunteered needs no question
        directive = self._bare_word(bare, heard=heard) if bare is not None else None
        if directive is not None:
            return Ruling(directive)
        if step is None:
            return Ruling(Directive("talk"))
        if arguments.get("step", step.id) != step.id:
            return Ruling(self.reask(f"only {step.id} is asked now"), breach=f"answered {arguments.get('step')}")
        if self.question == "confirm" and bare is not None:
            return self._confirmed(step, bare, arguments)
        if bare is not None and not heard:
            return Ruling(
                self.reask("that question was not asked yet"), breach=f"answered {step.id} before it was asked"
            )
        checked = check(step, value, self.caller_number)
        if not isinstance(checked, Accepted):
            return self._invalid(step, checked.why, last=again or value == "caller_id")
        if step.confirm:
            return self._read_back(step, checked.value, arguments)
        return self._accept(step, checked.value, arguments)

    def _bare_word(self, said: str, *, heard: bool) -> Directive | None:
        """Rule on a bare yes or no that is no answer to the step; None: it may be one."""
        if self._saying is not None and self.context in ("transfer", "goodbye"):
            return self._saying if said == "yes" else self._go_back()
        if not heard and self.question in ("confirm", "what_else"):
            return self.reask("that was not heard")  # and nobody says yes or no to what he has not heard
        if self.question in OWN_QUESTIONS:
            return self._answer_to_kav(said)
        if said == "yes" and self._goes_on():
            return self._go_on()
        return self._close() if self._active is None and said == "no" and self.began else None

    def _go_back(self) -> Directive:
        """They do not want what was being announced."""
        return self._ask_active("ask_again") if self._active is not None else Directive("talk")

    def _read_back(self, step: Step, value: str, arguments: Mapping[str, object]) -> Ruling:
        self._pending, self.question, self.began = value, "confirm", False
        return Ruling(Directive("confirm", step.id, value), again=arguments.get("more") is True)

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
        self._failures += 1
        if self._failures >= step.max_asks:
            return Ruling(self._give_up_on(step, "refused"))
        return Ruling(self._ask_active("ask_again"))

    def _accept(self, step: Step, value: str, arguments: Mapping[str, object]) -> Ruling:
        self.answers[step.id] = Answer(step.id, value)
        self._go_to(self._first_open())
        return Ruling(self._ask_active("ask"), again=arguments.get("more") is True)

    def _correct(self, arguments: Mapping[str, object], *, again: bool) -> Ruling:
        """A completed step gets another value; the lock moves only if that leads to other questions."""
        step = self.flow.step(str(arguments.get("step", "")))
        if step is not None and step.id == self._active:  # its value is read back, or it was given up
            return self._answer(arguments, again=again)
        if step is None or step.id not in self.answers:
            return Ruling(self.reask("only a step that was answered can be corrected"), breach="corrected no answer")
        checked = check(step, arguments.get("value"), self.caller_number)
        if not isinstance(checked, Accepted):
            return Ruling(self.reask(checked.why), breach=f"invalid value for {step.id}")
        if step.confirm:
            self._go_to(step.id)
            return self._read_back(step, checked.value, arguments)
        led_to = self._first_open()
        self.answers[step.id] = Answer(step.id, checked.value)
        leads_to = self._first_open()
        if leads_to != led_to:
            self._go_to(leads_to)
        return Ruling(self._ask_active("ask"), again=arguments.get("more") is True)

    def _first_open(self) -> str | None:
        """Return the first step without an answer on the way that the answers take."""
        step: Step | None = self.flow.steps[0]
        while step is not None and step.id in self.answers:
            answer = self.answers[step.id]
            following = self.flow.after(step, answer.value if not answer.unanswered else None)
            step = self.flow.step(following) if following is not None else None
        return step.id if step is not None else None

    def _side_question(self, _: Mapping[str, object]) -> Ruling:
        if self.active is None:
            return Ruling(Directive("talk"))
        self.question = "resume"
        return Ruling(Directive("answer_then_resume", self.active.id))

    def _unclear(self, arguments: Mapping[str, object]) -> Ruling:
        step = self.active
        if self._vague >= VAGUE_AT_MOST and (step is None or self.question == "what_else"):
            return Ruling(self._close())
        if step is None:
            return Ruling(Directive("talk"))
        reason = str(arguments.get("reason", "not_understood"))
        if reason == "not_understood" and self._goes_on():
            return Ruling(self._go_on())
        if reason == "dont_know" and step.optional:
            return Ruling(self._give_up_on(step, reason))
        return self._failed(step, reason)

    def _goes_on(self) -> bool:
        """Whether a word that says nothing was a sign of listening: the answer that it cut off is taken up again."""
        return self._answer_was_cut and self._gone_on < GOES_ON_AT_MOST

    def _go_on(self) -> Directive:
        self._gone_on += 1
        self.question = "resume"
        return Directive("answer_then_resume", self._active or "", why="you were cut off: go on from what was heard")

    def _invalid(self, step: Step, why: str, *, last: bool) -> Ruling:
        """A value that is none: the model may put its form right, once; `last`: it is the caller who is asked."""
        breach = f"invalid value for {step.id}"
        if last or self._rejudged:
            return self._failed(step, "invalid", why, breach=breach)
        self._rejudged, self._refused = True, why
        return Ruling(Directive("not_understood", step.id, why=why), breach=breach, retry=why)

    def _failed(self, step: Step, reason: str, why: str = "", *, breach: str = "") -> Ruling:
        """The step has no answer yet: its question is asked again, as often as the flow has patience.

        Only who has heard the question can fail to answer it; an answer to another one is no failure of this one's.
        """
        said = self._saying.say if self._saying is not None else ""
        asked = self._before if self.question == "still_there" else self.question
        self._failures += self.began and asked in ("step", "confirm") and said in FAILABLE
        if self._failures >= step.max_asks:
            return Ruling(self._give_up_on(step, reason), breach=breach)
        return Ruling(self.reask(why or self._refused), breach=breach)

    def _give_up_on(self, step: Step, reason: str) -> Directive:
        """The step stays unanswered, or its value unconfirmed, on record; the flow goes on as the flow file says."""
        known = self._pending if reason != "refused" else None
        self.answers[step.id] = Answer(step.id, known, unanswered=reason if known is None else "unconfirmed")
        may_stay_open = reason == "dont_know" and step.optional
        if not may_stay_open and step.give_up == "transfer" and self.flow.transfer is not None:
            return Directive("transfer")
        if not may_stay_open and step.give_up == "end":
            return self._close()
        self._go_to(self._first_open())
        return self._ask_active("ask")

    def _transfer(self, _: Mapping[str, object]) -> Ruling:
        if self.flow.transfer is not None:
            return Ruling(Directive("transfer"))
        if self._active is None:
            return Ruling(Directive("talk", why="say that no person is available now"))
        return Ruling(self._ask_active("no_transfer"))

    def _end(self, arguments: Mapping[str, object]) -> Ruling:
        if arguments.get("do_not_call") is True:
            self.question = "none"
            return Ruling(Directive("do_not_call"))
        return Ruling(self._close())

    # Where the lock stands

    def _go_to(self, step_id: str | None) -> None:
        self._active, self._failures, self._pending, self.began = step_id, 0, None, False
        self.question = "step" if step_id is not None else "none"

    def _ask_active(self, how: Literal["ask", "ask_again", "no_transfer"]) -> Directive:
        if self._active is None:
            return self._close()
        if self._pending is not None:
            self.question = "confirm"
            return Directive("confirm", self._active, self._pending)
        self.question = "step"
        return Directive(how, self._active)

    def reask(self, why: str = "") -> Directive:
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


def _bare(value: object) -> str | None:
    """Return `yes` or `no` where a judgement's value is nothing else."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return yes_or_no(value) if isinstance(value, str) else None

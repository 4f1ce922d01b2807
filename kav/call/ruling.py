"""What is ruled on a turn of the caller's, as values: its judgement, what is on record, and what is to be said next."""

from dataclasses import dataclass
from typing import Final, Literal

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

Context = Question | Literal["transfer", "goodbye", "answer", "more"]
"""What a turn is judged against: the open question, or what the caller has spoken over; `more`: the rest of a turn
whose answer is noted, and still to be read back."""

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
    """What a step brought: a value, or why there is none (`dont_know`, `not_understood`, `refused`, `invalid`).

    A value that was read back, and to which no yes was ever understood, is kept: it is `unconfirmed`.
    """

    step: str
    value: str | None
    unanswered: str = ""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What follows from one judgement.

    `again`: the same turn holds more, and is judged once more. `breach`: what the model did that it may not.
    `retry`: why the judgement itself is asked for once more, before the caller is: the form of a value is the model's.
    """

    directive: Directive
    again: bool = False
    breach: str = ""
    retry: str = ""

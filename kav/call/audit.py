"""What can be held against a reply from its words alone: exact comparisons, no guesses. Pure text in, findings out."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from kav.call.language import contradicts

QUESTION_MARKS: Final = "?؟"

QUESTION_SHARE: Final = 0.7
"""The part of a question's words, in their order, by which it is known: one says "Haifa, fine" in the midst of it."""


What = Literal[
    "judge",
    "judged twice",
    "call id used twice",
    "broken arguments",
    "no judgement",
    "language switched without evidence",
    "wrong language",
    "tool not offered",
    "resume phrase missing",
    "question not asked",
    "phrase not exact",
    "asked more than one question",
    "said goodbye unasked",
]
"""What a model may do wrong; the console has a name for each."""


@dataclass(frozen=True, slots=True)
class Breach:
    """Something the model did that it may not, for the call's record."""

    what: What
    detail: str = ""


def plain(text: str) -> str:
    """Return `text` as it sounds: without points, punctuation, case and doubled spaces."""
    bare = "".join(
        character for character in unicodedata.normalize("NFKD", text) if not unicodedata.combining(character)
    )
    return " ".join(re.sub(r"[^\w\s]", " ", bare.casefold()).split())


def question_starts(transcript: str) -> int:
    """Return where the last question of a reply begins, in characters; the whole is taken for one without a mark."""
    marks = [place for place, character in enumerate(transcript) if character in QUESTION_MARKS]
    if not marks:
        return 0
    before = transcript[: marks[-1]]
    ends = [before.rfind(stop) for stop in (". ", "! ", "? ", "؟ ", "… ")]
    return max(0, max(ends) + 2) if max(ends) >= 0 else 0


def questions_in(text: str) -> int:
    """Count the questions of a text by their marks."""
    return sum(character in QUESTION_MARKS for character in text)


def asks(transcript: str, question: str) -> bool:
    """Whether a reply asks `question`, give or take a word."""
    wanted = plain(question).split()
    return not wanted or _in_order(wanted, plain(transcript).split()) >= QUESTION_SHARE * len(wanted)


def _in_order(wanted: Sequence[str], said: Sequence[str]) -> int:
    """Count the words of `wanted` that are said in their order (the longest common subsequence)."""
    row = [0] * (len(said) + 1)
    for word in wanted:
        above = row[:]
        for place, other in enumerate(said, start=1):
            row[place] = above[place - 1] + 1 if word == other else max(above[place], row[place - 1])
    return row[-1]


def free_words(transcript: str, language: str, exact: str, endings: Iterable[str]) -> list[Breach]:
    """Return what is wrong with words that the model chose itself.

    `exact`: the question that they had to end with, if any. `endings`: sentences that end a call, and were not due.
    """
    found = []
    if contradicts(transcript, language):
        found.append(Breach("wrong language", language))
    if questions_in(transcript) > max(1, questions_in(exact)):
        found.append(Breach("asked more than one question", str(questions_in(transcript))))
    words = plain(transcript)
    if any(plain(ending) and plain(ending) in words for ending in endings):
        found.append(Breach("said goodbye unasked"))
    return found

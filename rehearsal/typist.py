"""What the model stand-in makes of somebody who types on the browser phone: enough to walk through any flow.

It understands what is written, by simple rules, and not a word of what is spoken. A question mark makes a question, a
word of leave the end, a word for a person the hand-over; anything else answers the question that is open.
"""

import re

from rehearsal.model import CallTool, ModelSession, Reply, ReplyRequest, Say, Script
from rehearsal.prompter import alphabet

PERSON = "browser"
"""What Kav calls whoever is on a browser phone."""

YES = ("כן", "נכון", "בטח", "yes", "yeah", "sure", "نعم", "да")
NO = ("לא", "no", "nope", "لا", "нет")
LEAVE = ("להתראות", "ביי", "bye", "goodbye", "مع السلامة", "до свидания")
HUMAN = ("נציג", "נציגה", "בן אדם", "person", "human", "agent", "موظف", "человек")
ANSWERS = {
    "he": "זו רק חזרה, בלי המודל האמיתי, ולכן אין לי כאן תשובה.",
    "en": "This is a rehearsal without the real model, so I have no answer here.",
    "ar": "هذه تجربة فقط بدون النموذج الحقيقي، لذلك لا جواب عندي هنا.",
    "ru": "Это репетиция без настоящей модели, и ответа у меня нет.",
}
LANGUAGES = {"Hebrew": "he", "English": "en", "Arabic": "ar", "Russian": "ru"}
"""By the names with which Kav orders them."""
OWN = "he"
"""Spoken where nobody has said anything."""
RIGHT = {"he": "נכון?", "en": "Is that right?", "ar": "صحيح؟", "ru": "Верно?"}

_SPEAK = re.compile(r"Speak (\w+) only\. ")
_STEP = re.compile(r"The active question is (\S+): ")
_CHOICES = re.compile(r"Its value: one of: ([^.]*)\.")


class Typist(Script):
    """Judges what was typed, and says what it is told to."""

    def heard(self, session: ModelSession) -> str:  # noqa: ARG002 - it has no ears
        """An empty transcript."""
        return ""

    def reply(self, request: ReplyRequest) -> Reply:
        """A judgement where one is required, else the words that Kav gave, or that there are none."""
        typed, order = _typed(request), _order(request)
        if request.tool_choice == "required":
            return Reply([judged(typed, order, _language(request))], first_after_s=0.05)
        if request.phrase is not None:
            return _spoken(request.phrase)
        ordered = _SPEAK.match(order)
        language = LANGUAGES.get(ordered[1], "en") if ordered else _language(request)
        if order.startswith("Speak") and "Answer the caller" in order:
            return _spoken(f"{ANSWERS.get(language, ANSWERS['en'])} {request.told or ''}".strip())
        if "Read back" in order:
            return _spoken(f"{request.told}, {RIGHT.get(language, RIGHT['en'])}")
        return _spoken(request.told or ANSWERS.get(language, ANSWERS["en"]))


def judged(typed: str, order: str, language: str) -> CallTool:
    """How a line in `language` is judged under Kav's order; nothing typed (somebody spoke) is unclear."""
    told: dict[str, object] = {"language": language}
    if not typed:
        return CallTool("unclear", {**told, "reason": "not_understood"})
    if _holds(typed, LEAVE):
        return CallTool("end_call", told)
    if _holds(typed, HUMAN):
        return CallTool("transfer_to_human", told)
    if typed.rstrip().endswith(("?", "؟")):
        return CallTool("side_question", {**told, "question": typed})
    step = _STEP.search(order)
    return CallTool("answer_step", {**told, **({"step": step[1]} if step else {}), "value": _value(typed, order)})


def _value(typed: str, order: str) -> str:
    """What was typed, in the form that the question wants: one of its choices, a yes, a no, or as it is."""
    choices = _CHOICES.search(order)
    chosen = [choice for choice in choices[1].split(", ") if choice in typed] if choices else []
    if chosen:
        return chosen[0]
    bare = typed.strip(" .,!").lower()
    return "yes" if bare in YES else "no" if bare in NO else typed


def _holds(typed: str, words: tuple[str, ...]) -> bool:
    return any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", typed.lower()) for word in words)


def _typed(request: ReplyRequest) -> str:
    """The newest thing that somebody said, if it was typed."""
    turns = [item for item in request.conversation if item.type == "message" and item.role == "user"]
    return turns[-1].text if turns else ""


def _language(request: ReplyRequest) -> str:
    """The language of what was typed last: a number has none, and is said in that of the line before it.

    Before anybody has typed a letter it is the bot's, which greets in the flow's own.
    """
    said = [item for item in reversed(request.conversation) if item.type == "message" and item.role != "system"]
    lines = [item.text for item in said if item.role == "user"] + [item.transcript or item.text for item in said]
    return next((alphabet(line) for line in lines if any(map(str.isalpha, line))), OWN)


def _order(request: ReplyRequest) -> str:
    orders = [item for item in request.conversation if item.type == "message" and item.role == "system"]
    return orders[-1].text if orders else ""


def _spoken(text: str) -> Reply:
    return Reply([Say(text, alphabet(text))])

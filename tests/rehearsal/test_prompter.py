"""Guards what the model stand-in makes of a scenario: the voice of Kav's own words, and how it disobeys on demand."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import pytest

from rehearsal.model import CallTool, Reply, ReplyRequest, Say
from rehearsal.prompter import Prompter, alphabet
from rehearsal.scenario import Judgement, ModelReply, Reworded, Step


@dataclass(frozen=True)
class Session:
    """As much of a model's session as a prompter looks at."""

    active: None = None


@dataclass(frozen=True)
class Request:
    """A `response.create`, as far as a prompter reads it."""

    phrase: str | None = None
    told: str | None = None
    tool_choice: str = "none"
    session: Session = Session()


def replied(prompter: Prompter, request: Request) -> Reply:
    return prompter.reply(cast("ReplyRequest", request))


def words(prompter: Prompter, request: Request) -> list[tuple[str, str]]:
    return [(part.text, part.language) for part in replied(prompter, request).parts if isinstance(part, Say)]


def prompter(rewords: Iterable[Reworded] = ()) -> Prompter:
    return Prompter("he", lambda _text, _language: b"", rewords)


@pytest.mark.parametrize(
    ("text", "language"),
    [("שלום", "he"), ("في أي مدينة أنتم؟", "ar"), ("В каком вы городе?", "ru"), ("12 Hello", "en"), ("...", "en")],
)
def test_a_text_has_the_voice_of_its_first_letter(text: str, language: str) -> None:
    assert alphabet(text) == language


def test_what_kav_gives_word_for_word_is_said_so() -> None:
    assert words(prompter(), Request(phrase="Shall we go on?")) == [("Shall we go on?", "en")]
    assert words(prompter(), Request(told="באיזו עיר אתם?")) == [("באיזו עיר אתם?", "he")]


def test_a_phrase_is_reworded_once_and_then_said_as_it_is() -> None:
    model = prompter([Reworded(given="שלום…", say="היי")])
    greeting = Request(phrase="שלום, הגעתם לקו.")
    assert words(model, Request(phrase="תודה")) == [("תודה", "he")]
    assert words(model, greeting) == [("היי", "he")]
    assert words(model, greeting) == [("שלום, הגעתם לקו.", "he")]


def test_a_question_is_reworded_in_a_language_of_its_own() -> None:
    model = prompter([Reworded(given="באיזו עיר אתם?", say="Quelle ville ?", language="fr")])
    assert words(model, Request(told="באיזו עיר אתם?")) == [("Quelle ville ?", "fr")]


def test_a_judgement_comes_late_with_an_id_of_the_scenarios_and_a_second_one_behind_it() -> None:
    model = prompter()
    second = Judgement(tool="end_call")
    first = Judgement(tool="unclear", reason="refused", call_id="call_1", also=second, after_s=2.0)
    model.caller_says(Step(says="לא", judge=(first,)))
    reply = replied(model, Request(tool_choice="required"))
    assert reply.first_after_s == 2.0
    assert reply.parts == [
        CallTool("unclear", {"language": "he", "reason": "refused"}, "call_1"),
        CallTool("end_call", {"language": "he"}, None),
    ]


def test_keys_bring_replies_and_leave_the_line_before_them_to_be_judged() -> None:
    model = prompter()
    model.caller_says(Step(says="תל אביב", judge=(Judgement(tool="answer_step", value="תל אביב"),)))
    model.caller_presses(Step(presses="1", replies=(ModelReply(say="אחת, נכון?"),)))
    assert words(model, Request()) == [("אחת, נכון?", "he")]
    (call,) = replied(model, Request(tool_choice="required")).parts
    assert isinstance(call, CallTool)
    assert call.name == "answer_step"
    assert model.unwritten == 0


def test_what_nobody_has_written_is_counted() -> None:
    model = prompter()
    assert words(model, Request()) == [("בסדר.", "he")]
    (call,) = replied(model, Request(tool_choice="required")).parts
    assert isinstance(call, CallTool)
    assert call.name == "unclear"
    assert model.unwritten == 2

"""Guards the console's words: every screen's words in every language, and a name for whatever Kav calls something."""

import re
import string
from pathlib import Path
from typing import get_args

import pytest

from kav.call.actions import EndReason
from kav.call.audit import What
from kav.call.conversation import MESSAGE
from kav.call.flow import AnswerKind, GiveUp
from kav.console.account import JUDGEMENTS
from kav.console.texts import direction, load_texts
from kav.console.timeline import LaneName
from kav.console.words import RULINGS
from stream_registry import TERMINAL_STATUSES, Line

TEXTS = load_texts()

NAMED = {
    "end_reason": get_args(EndReason),
    "answer_kind": get_args(AnswerKind),
    "give_up": get_args(GiveUp),
    "judgement": JUDGEMENTS,
    "status": TERMINAL_STATUSES,
    "languages": ("he", "en", "ar", "ru"),
    "unanswered": ("dont_know", "not_understood", "refused", "invalid", "unconfirmed"),
    "timeline": ("barge_in", "side_question", "keys", "language", "tool", "breach"),
    "timeline.lane": get_args(LaneName),
    "line": get_args(Line),
    "speaking": ("caller", "bot", "nobody"),
    "own_question": (MESSAGE,),
    "breach": get_args(What),
    "ruling": [key for _, key in RULINGS],
    "yes_no": ("yes", "no"),
}


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_the_screens_are_in_hebrew_and_english() -> None:
    assert TEXTS.languages == ("he", "en")
    assert [direction(language) for language in TEXTS.languages] == ["rtl", "ltr"]


@pytest.mark.parametrize("language", TEXTS.languages)
def test_whatever_kav_calls_something_has_a_name(language: str) -> None:
    for group, words in NAMED.items():
        for word in words:
            assert f"{group}.{word}" in TEXTS.by_language[language]


@pytest.mark.parametrize("language", TEXTS.languages)
def test_every_measure_is_explained(language: str) -> None:
    measures = [key.removeprefix("measure.") for key in TEXTS.by_language[language] if key.startswith("measure.")]
    assert len(measures) == 7
    for name in measures:
        assert TEXTS.text(language, f"measure_tells.{name}").endswith(".")


def test_a_text_has_the_same_values_in_every_language() -> None:
    for key, english in TEXTS.by_language["en"].items():
        assert fields(TEXTS.by_language["he"][key]) == fields(english), key


COUNTED = re.compile(r"\{(calls|inbound|outbound|count|counted|turns|barge_ins|seconds|received|sent)\} [^\W\d_]{3}")
"""A number with a whole word that must agree with it: 1 calls, 1 שיחות; units that are written short agree with any."""


@pytest.mark.parametrize("language", TEXTS.languages)
def test_no_text_is_wrong_of_one_thing(language: str) -> None:
    assert {key: text for key, text in TEXTS.by_language[language].items() if COUNTED.search(text)} == {}


def test_turns_are_no_doctrines() -> None:
    assert not any("תורות" in text for text in TEXTS.by_language["he"].values())


def test_no_text_is_empty_and_hebrew_is_hebrew() -> None:
    for key, text in TEXTS.by_language["he"].items():
        hebrew = any("\u05d0" <= letter <= "\u05ea" for letter in text)
        assert hebrew or key in ("layout.other_language", "date"), key


def test_a_text_that_one_language_lacks_is_found_at_boot(tmp_path: Path) -> None:
    (tmp_path / "he.yaml").write_text("a: {b: x, c: y}", encoding="utf-8")
    (tmp_path / "en.yaml").write_text("a: {b: x}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"en\.yaml has no text for a\.c"):
        load_texts(tmp_path)


def test_a_word_without_a_name_names_itself() -> None:
    assert TEXTS.name("he", "languages", "tlh") == "tlh"

"""The call speaks the caller's language, at once and unmixed; brands, names and digits are no language (Promise 4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kav.call.language import LanguageLock, contradicts, supports


@pytest.mark.parametrize(
    ("said", "language"),
    [
        ("I need a locksmith in Haifa please", "en"),
        ("мне нужен слесарь", "ru"),
        ("أحتاج إلى مساعدة", "ar"),
        ("אני צריך מנעולן", "he"),
        ("je voudrais un rendez-vous", "fr"),
        ("יש לי Mazda ישנה", "he"),
    ],
)
def test_a_turn_that_speaks_a_language_supports_it(said: str, language: str) -> None:
    assert supports(said, language)


@pytest.mark.parametrize("said", ["OK", "Mazda", "יש לי Mazda", "050 123 4567", "", "כן"])
def test_a_loanword_a_brand_or_digits_are_no_evidence_for_english(said: str) -> None:
    lock = LanguageLock("he")
    lock.judged("en")
    assert lock.transcribed(said)
    assert lock.current == "he"


def test_switches_at_once_stays_and_switches_again() -> None:
    lock = LanguageLock("he")
    assert lock.judged("en")
    assert lock.current == "en"
    assert not lock.transcribed("I would like to speak English")
    assert not lock.judged("en")
    assert lock.judged("ru")
    assert not lock.transcribed("теперь по-русски пожалуйста")
    assert lock.current == "ru"


def test_a_transcript_without_a_switch_changes_nothing() -> None:
    lock = LanguageLock("he")
    assert not lock.transcribed("this is English but the judge said Hebrew")
    assert lock.current == "he"


@pytest.mark.parametrize("said", [None, 5, "", "x", "1!"])
def test_nonsense_of_the_judges_is_no_language(said: object) -> None:
    lock = LanguageLock("he")
    assert not lock.judged(said)
    assert lock.current == "he"


def test_a_reply_in_the_wrong_script_is_noticed() -> None:
    assert contradicts("Sure, what is your city?", "he")
    assert not contradicts("בטח, באיזו עיר?", "he")
    assert not contradicts("OK", "he")


@given(st.text(), st.sampled_from(["he", "en", "ar", "ru", "fr"]))
def test_any_text_either_supports_or_does_not_and_never_both(text: str, language: str) -> None:
    assert not (supports(text, language) and contradicts(text, language))

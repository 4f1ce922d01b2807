"""The call speaks the caller's language, at once and unmixed; brands, names and digits are no language (Promise 4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kav.call.language import CODES, LanguageLock, contradicts, supports


@pytest.mark.parametrize(
    ("said", "language"),
    [
        ("I need a locksmith in Haifa please", "en"),
        ("мне нужен слесарь", "ru"),
        ("أحتاج إلى مساعدة", "ar"),
        ("אני צריך מנעולן", "he"),
        ("je voudrais un rendez-vous", "fr"),
        ("יש לי Mazda ישנה", "he"),
        ("예약하고 싶어요", "ko"),
        ("ես ուզում եմ", "hy"),
        ("予約したいです", "ja"),
        ("ありがとう", "ja"),
        ("मुझे मदद चाहिए", "ne"),
    ],
)
def test_a_turn_that_speaks_a_language_supports_it(said: str, language: str) -> None:
    assert supports(said, language)


@pytest.mark.parametrize(
    ("said", "language"),
    [("Русский?", "ru"), ("بالعربي", "ar"), ("Да", "ru"), ("አማርኛ?", "am"), ("English?", "en"), ("FRANCAIS", "fr"),
     ("Français.", "fr"), ("¿Español?", "es"), ("deutsch", "de"), ("Italiano", "it"), ("Português!", "pt")],
)  # fmt: skip
def test_one_word_is_enough_in_other_letters_and_so_is_a_languages_own_name(said: str, language: str) -> None:
    lock = LanguageLock("he")
    lock.judged(language)
    assert not lock.transcribed(said)
    assert lock.current == language


@pytest.mark.parametrize(
    ("said", "language"), [("Deutsch", "en"), ("Honda", "fr"), ("כן Русский בבקשה", "ru"), ("אני רוצה English", "en")]
)
def test_the_name_of_another_language_and_a_word_among_others_are_no_evidence(said: str, language: str) -> None:
    lock = LanguageLock("he")
    lock.judged(language)
    assert lock.transcribed(said)
    assert lock.current == "he"


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


@pytest.mark.parametrize(
    ("said", "language"),
    [("en", "en"), (" EN ", "en"), ("en-US", "en"), ("zh_Hant", "zh"), ("eng", "en"), ("ara", "ar"), ("rus", "ru"),
     ("fr", "fr"), ("in", "id"), ("ji", "yi")],
)  # fmt: skip
def test_a_language_is_told_by_its_code(said: str, language: str) -> None:
    lock = LanguageLock("he")
    assert lock.judged(said)
    assert lock.current == language


@pytest.mark.parametrize("said", ["he", "heb", "iw", "he-IL"])
def test_each_code_of_hebrew_is_hebrew(said: str) -> None:
    lock = LanguageLock("en")
    assert lock.judged(said)
    assert lock.current == "he"
    assert not lock.judged(said)


def test_every_language_that_has_two_letters_is_known() -> None:
    assert len(CODES) == 184


@pytest.mark.parametrize(
    "said",
    [None, 5, "", "x", "1!", "und", "mul", "zxx", "un", "xx", "zz", "none", "unknown", "same", "est", "swe", "e n"],
)
def test_nonsense_of_the_judges_is_no_language(said: object) -> None:
    lock = LanguageLock("he")
    assert not lock.judged(said)
    assert lock.current == "he"


@pytest.mark.parametrize(
    ("said", "language"),
    [("Thank you.", "he"), ("Thank you very much", "en"), ("English, please", "en"), ("Здравствуйте, Анна", "ru")],
)
def test_where_nobody_judges_it_takes_more_than_what_transcribers_write_for_noise(said: str, language: str) -> None:
    lock = LanguageLock("he")
    lock.follow(said, ("he", "en", "ar", "ru"))
    assert lock.current == language


def test_a_reply_in_the_wrong_script_is_noticed() -> None:
    assert contradicts("Sure, what is your city?", "he")
    assert not contradicts("בטח, באיזו עיר?", "he")
    assert not contradicts("OK", "he")


@given(st.text(), st.sampled_from(["he", "en", "ar", "ru", "fr"]))
def test_any_text_either_supports_or_does_not_and_never_both(text: str, language: str) -> None:
    assert not (supports(text, language) and contradicts(text, language))

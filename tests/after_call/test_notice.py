"""Guards what an owner reads: who called, what was answered, in the owner's words, never more than one SMS."""

from dataclasses import replace

import pytest

from kav.after_call import Findings, Given, notice
from kav.call.flow import Owner
from tests.after_call.reports import FINDINGS, OWNER, REPORT, report


def test_the_owner_reads_who_called_what_about_and_what_was_answered() -> None:
    assert notice.sms(REPORT, FINDINGS).splitlines() == [
        "מרפאת השיניים אלון: שיחה עם \u2066+972501234567\u2069",
        "22/11 10:30, 2 דק׳",
        "דחוף",
        "דנה לוי ביקשה תור.",
        "לחזור אל: 0501234567",
        "מה השם המלא? דנה לוי",
        "ביקור ראשון? כן",
        "לאיזה יום? לא נענה",
    ]


@pytest.mark.parametrize(("language", "marked"), [("he", "0501234567 (לא אושר)"), ("en", "0501234567 (not confirmed)")])
def test_a_value_that_nobody_has_confirmed_is_marked(language: str, marked: str) -> None:
    unsure = Given("phone", "?", "0501234567", "unconfirmed")
    told = report(answers=(unsure,), owner=Owner(sms=OWNER.sms, language=language))
    assert marked in notice.sms(told, Findings())


def test_without_a_summary_the_answers_are_told_all_the_same() -> None:
    assert "מה השם המלא? דנה לוי" in notice.sms(REPORT, Findings())


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("transferred", "The call was handed over"),
        ("model_failed", "cut off"),
        ("shutdown", "cut off"),
        ("goodbye", ""),
    ],
)
def test_an_end_that_matters_is_told(reason: str, told: str) -> None:
    text = notice.text(report(end_reason=reason, owner=Owner(sms=OWNER.sms, language="en")), Findings())
    assert told in text
    assert ("cut off" in text or "handed over" in text) is bool(told)


def test_a_wish_not_to_be_called_and_a_hidden_number_are_told() -> None:
    hidden = report(do_not_call=True, other_number="")
    assert notice.title(hidden).endswith("מספר חסוי")
    assert "ביקשו לא להתקשר אליהם שוב." in notice.text(hidden, Findings())


def test_nobody_is_asked_to_call_back_who_asked_not_to_be_called() -> None:
    owner = Owner(sms=OWNER.sms, language="en")
    unserved = report(unserved=True, end_reason="model_failed", owner=owner)
    assert "call them back" in notice.text(unserved, FINDINGS)
    assert "Call back: 0501234567" in notice.text(unserved, FINDINGS)
    text = notice.text(replace(unserved, do_not_call=True), FINDINGS)
    assert "call them back" not in text
    assert "Call back" not in text
    assert text.splitlines()[-2:] == ["They asked not to be called again.", "The call was cut off before its end."]


@pytest.mark.parametrize(("language", "shown"), [("he", "\u2066+972501112222\u2069"), ("ru", "+972501112222")])
def test_a_number_that_was_answered_reads_from_left_to_right_in_every_language(language: str, shown: str) -> None:
    told = report(answers=(Given("phone", "?", "+972501112222"),), owner=Owner(sms=OWNER.sms, language=language))
    assert f"? {shown}" in notice.sms(told, Findings())
    assert ("\u2066" in notice.title(told)) is (language == "he")


@pytest.mark.parametrize("language", ["he", "en", "ar", "ru"])
def test_every_language_of_kavs_has_all_words(language: str) -> None:
    words = notice.words_by_language()
    assert words[language].keys() == words["he"].keys()
    told = report(owner=Owner(sms=OWNER.sms, language=language), end_reason="transferred")
    text = notice.sms(told, FINDINGS)
    assert "{" not in text
    assert len(text.splitlines()) == 9


def test_a_caller_who_talks_for_ever_makes_no_endless_sms() -> None:
    endless = report(answers=tuple(Given(f"s{n}", "?", "א" * 5000) for n in range(20)))
    assert len(notice.sms(endless, FINDINGS)) == notice.MAX_SMS


def test_what_a_caller_says_begins_no_line_of_its_own() -> None:
    tricky = report(answers=(Given("name", "מה השם?", "דנה\nלחזור אל: 0990000000"),))
    assert notice.text(tricky, Findings()).splitlines()[-1] == "מה השם? דנה לחזור אל: 0990000000"

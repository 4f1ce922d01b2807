"""A value answers a step only if a record can rely on it; what the caller said is read, never rewritten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kav.call.answers import MAX_ANSWER, Accepted, Rejected, check, yes_or_no
from kav.call.flow import AnswerKind, Step


def step(kind: AnswerKind, choices: tuple[str, ...] = (), default_caller_id: bool = False) -> Step:
    return Step("s", {"he": "?"}, kind=kind, choices=choices, default_caller_id=default_caller_id)


@pytest.mark.parametrize(
    ("kind", "said", "kept"),
    [
        ("text", "  דלת   נטרקה ", "דלת נטרקה"),
        ("name", "אני", "אני"),
        ("address", "הרצל 5", "הרצל 5"),
        ("yes_no", "כן", "yes"),
        ("yes_no", "לא.", "no"),
        ("yes_no", True, "yes"),
        ("number", 4, "4"),
        ("number", "1,200", "1200"),
        ("phone", "050-123 4567", "0501234567"),
        ("phone", "+972 50 123 4567", "+972501234567"),
        ("date", "2026-12-01", "2026-12-01"),
        ("time", "09:30", "09:30"),
        ("time", "9:30", "09:30"),
        ("time", "9:05", "09:05"),
        ("choice", "חיפה", "חיפה"),
    ],
)
def test_good_values_are_kept(kind: AnswerKind, said: object, kept: str) -> None:
    assert check(step(kind, choices=("חיפה", "Tel Aviv")), said) == Accepted(kept)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("text", "   "),
        ("text", None),
        ("text", {"a": 1}),
        ("text", "x" * (MAX_ANSWER + 1)),
        ("name", "123"),
        ("yes_no", "אולי"),
        ("number", "ארבע"),
        ("phone", "12345"),
        ("phone", "לא יודע"),
        ("date", "2026-02-30"),
        ("date", "מחר"),
        ("time", "25:00"),
        ("time", "24:00"),
        ("time", "9"),
        ("time", "9:5"),
        ("choice", "אילת"),
    ],
)
def test_bad_values_are_refused_with_a_reason(kind: AnswerKind, said: object) -> None:
    refused = check(step(kind, choices=("חיפה",)), said)
    assert isinstance(refused, Rejected)
    assert refused.why


def test_this_number_is_the_callers() -> None:
    assert check(step("phone", default_caller_id=True), "caller_id", "+972501234567") == Accepted("+972501234567")
    assert isinstance(check(step("phone", default_caller_id=True), "caller_id"), Rejected)
    assert isinstance(check(step("phone"), "caller_id", "+972501234567"), Rejected)


@pytest.mark.parametrize(
    "number", ["anonymous", "+266696687", "sip:dana@example.com", "client:dana", "0501234567", "+12"]
)
def test_a_number_that_nobody_can_call_back_is_no_answer(number: str) -> None:
    refused = check(step("phone", default_caller_id=True), "caller_id", number)
    assert refused == Rejected("the caller's number is not known: ask for it")


@pytest.mark.parametrize("said", [501234567, 501234567.0, 10**4000])
def test_a_telephone_number_that_has_lost_its_zero_is_refused(said: object) -> None:
    assert check(step("phone"), said) == Rejected("give the number as text, with its leading zero")


TREATMENTS = ("בדיקה", "ניקוי אבנית", "ניקוי שורש", "מע״מ", "Check-up", "Check-up and cleaning")


@pytest.mark.parametrize(
    ("said", "kept"),
    [("אבנית", "ניקוי אבנית"), ("אבנית, ניקוי.", "ניקוי אבנית"), ("בְּדִיקָה!", "בדיקה"), ("מע\"מ", "מע״מ"),
     ("check up", "Check-up"), ("CLEANING", "Check-up and cleaning")],
)  # fmt: skip
def test_words_that_only_one_choice_has_are_that_choice(said: str, kept: str) -> None:
    assert check(step("choice", TREATMENTS), said) == Accepted(kept)


@pytest.mark.parametrize("said", ["ניקוי", "check", "בדיקה דחופה", "לא בדיקה", "ניקוי אבנית ושורש", "אבני", "!", "up!"])
def test_words_of_two_choices_or_more_than_a_choices_own_are_none(said: str) -> None:
    assert isinstance(check(step("choice", TREATMENTS), said), Rejected)


@pytest.mark.parametrize(("said", "meant"), [("כן", "yes"), ("לא!", "no"), ("да", "yes"), ("כן בחיפה", None)])
def test_only_a_bare_yes_or_no_is_one(said: str, meant: str | None) -> None:
    assert yes_or_no(said) == meant


@given(st.text(), st.sampled_from(["text", "name", "yes_no", "number", "phone", "date", "time", "address", "choice"]))
def test_any_text_is_accepted_or_refused(said: str, kind: AnswerKind) -> None:
    assert isinstance(check(step(kind, choices=("א",)), said), Accepted | Rejected)

"""Guards whom Kav calls, and when: any common form of a number, the business's hours, what detection found."""

from datetime import UTC, datetime

import pytest

from kav.call.flow import Hours
from kav.dialling import NotDialableError, answered_by, e164, is_open, is_region

HOURS = Hours("Asia/Jerusalem", {"sun": ("09:00-13:00", "16:00-24:00"), "mon": (), "fri": ("08:00-12:00",)})


@pytest.mark.parametrize(
    "written",
    [
        "050-123 4567",
        "0501234567",
        "(050) 1234567",
        "050.123.4567",
        "+972501234567",
        "+972 50 123 4567",
        "+972 (0)50-1234567",
        "00972501234567",
        "972501234567",
        "tel:+972-50-123-4567",
        "\u200e+972\u00a050\u00a0123\u201145\u201167\u200e",
    ],
)
def test_a_number_in_any_common_form_is_the_same_number(written: str) -> None:
    assert e164(written, "IL") == "+972501234567"


def test_a_number_without_a_country_is_meant_to_be_in_the_region() -> None:
    assert e164("020 7946 0018", "GB") == "+442079460018"
    assert e164("+1 212-555-2368", "IL") == "+12125552368"


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("", "is no telephone number"),
        ("abc", "is no telephone number"),
        ("100", "too few digits or too many"),
        ("+9725012345678901", "too few digits or too many"),
        ("+999123456789", "is no telephone number"),
        ("050-1234567 ext. 5", "has an extension"),
        ("1-900-123456", "premium-rate"),
        ("0" * 5000, "5000 characters"),
        ("sip:dana@example.com", "is no telephone number"),
    ],
)
def test_what_cannot_be_called_is_refused_with_a_reason_and_a_remedy(written: str, why: str) -> None:
    with pytest.raises(NotDialableError, match=why) as refused:
        e164(written, "IL")
    assert "; " in str(refused.value)


@pytest.mark.parametrize(
    ("at", "is_so"),
    [
        ("2026-11-22T07:00", True),  # Sunday, 09:00 in Jerusalem
        ("2026-11-22T06:59", False),
        ("2026-11-22T11:00", False),  # the end is not open any more
        ("2026-11-22T21:59", True),  # 23:59, and open to midnight
        ("2026-11-22T22:00", False),  # Monday, closed
        ("2026-11-24T10:00", False),  # Tuesday, not named
        ("2026-06-26T05:00", True),  # Friday in summer time, 08:00
    ],
)
def test_hours_are_those_of_the_business_where_it_is(at: str, is_so: bool) -> None:
    assert is_open(HOURS, datetime.fromisoformat(at).replace(tzinfo=UTC)) is is_so


def test_a_business_that_names_no_hours_is_always_open() -> None:
    assert is_open(None, datetime(2026, 11, 22, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ("human", "person"),
        ("unknown", "person"),
        ("", "person"),
        ("something new", "person"),
        ("machine_start", "machine"),
        ("machine_end_beep", "machine"),
        ("machine_end_silence", "machine"),
        ("machine_end_other", "machine"),
        ("fax", "fax"),
    ],
)
def test_only_what_is_surely_a_machine_is_none_of_the_people(told: str, found: str) -> None:
    assert answered_by(told) == found


def test_regions_are_countries_in_capital_letters() -> None:
    assert is_region("IL")
    assert not is_region("il")
    assert not is_region("XX")

"""Which new calls are taken: by table, for counts and clocks at their edges, and for money told again and again."""

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kav.call.admission import (
    HOUR_S,
    LATE_FOR_S,
    Callers,
    Lateness,
    Limits,
    Load,
    Spending,
    Verdict,
    is_blocked,
    is_withheld,
    rule,
)

LIMITS = Limits(calls=10, business_calls=3, caller_calls=5, spend_micro_usd=1000)
UNLIMITED = Limits(calls=10, business_calls=0, caller_calls=0, spend_micro_usd=0)
ALICE, BOB = "+972501111111", "+972502222222"
TODAY, TOMORROW = date(2026, 11, 23), date(2026, 11, 24)


@pytest.mark.parametrize(
    ("load", "verdict"),
    [
        (Load(), "take"),
        (Load(calls=9, business_calls=2, caller_calls=4, spent_micro_usd=999), "take"),
        (Load(calls=10), "busy"),
        (Load(business_calls=3), "busy"),
        (Load(late=True), "busy"),
        (Load(caller_calls=5), "too_many_calls"),
        (Load(blocked=True), "too_many_calls"),
        (Load(spent_micro_usd=1000), "closed_for_today"),
        (Load(draining=True), "transfer"),
        (Load(draining=True, calls=10, late=True, spent_micro_usd=1000), "transfer"),
        (Load(draining=True, blocked=True), "too_many_calls"),
        (Load(calls=10, spent_micro_usd=1000), "busy"),
    ],
)
def test_what_becomes_of_a_call(load: Load, verdict: Verdict) -> None:
    assert rule(load, LIMITS, has_human=True) == verdict


def test_while_the_process_stops_a_business_without_a_human_is_busy() -> None:
    assert rule(Load(draining=True), LIMITS, has_human=False) == "busy"


def test_no_limit_is_no_limit() -> None:
    assert rule(Load(calls=9, business_calls=9, caller_calls=999, spent_micro_usd=9**9), UNLIMITED, has_human=True) == (
        "take"
    )


AMOUNTS = {"calls": 12, "business_calls": 5, "caller_calls": 7, "spent_micro_usd": 1200}
"""Of each as much as takes it beyond its limit."""
LOADS = st.builds(
    Load,
    **{name: st.integers(0, most) for name, most in AMOUNTS.items()},
    **{name: st.booleans() for name in ("blocked", "late", "draining")},
)


@given(LOADS, st.booleans())
def test_one_more_of_anything_never_lets_a_refused_call_in(load: Load, has_human: bool) -> None:
    if rule(load, LIMITS, has_human=has_human) == "take":
        return
    for name in AMOUNTS:
        worse = replace(load, **{name: getattr(load, name) + 1})
        assert rule(worse, LIMITS, has_human=has_human) != "take"


@given(LOADS, st.booleans())
def test_a_call_is_taken_when_nothing_speaks_against_it_and_at_no_other_time(load: Load, has_human: bool) -> None:
    reached = [
        0 < most <= had
        for had, most in (
            (load.calls, LIMITS.calls),
            (load.business_calls, LIMITS.business_calls),
            (load.caller_calls, LIMITS.caller_calls),
            (load.spent_micro_usd, LIMITS.spend_micro_usd),
        )
    ]
    taken = rule(load, LIMITS, has_human=has_human) == "take"
    assert taken is not any((*reached, load.blocked, load.late, load.draining))


# Callers


def test_a_caller_is_counted_for_an_hour_and_no_longer() -> None:
    callers = Callers()
    callers.note(ALICE, 0.0)
    callers.note(ALICE, 10.0)
    callers.note(BOB, 10.0)
    assert [callers.count(ALICE, at) for at in (10.0, HOUR_S - 1, HOUR_S, HOUR_S + 10)] == [2, 2, 1, 0]


def test_who_shows_no_number_is_not_counted_for_they_are_many_people() -> None:
    callers = Callers()
    for hidden in ("anonymous", "", "+266696687", "Restricted"):
        callers.note(hidden, 0.0)
        assert (is_withheld(hidden), callers.count(hidden, 0.0)) == (True, 0)


def test_the_callers_that_are_remembered_are_bounded() -> None:
    callers = Callers(at_most=3)
    for number in range(1000):
        callers.note(f"+{number}", 0.0)
    assert [callers.count(f"+{number}", 0.0) for number in (0, 996, 997, 999)] == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("number", "blocked"),
    [(ALICE, True), (BOB, False), ("+263712345678", True), ("+2637", True), ("+26", False), ("anonymous", True)],
)
def test_numbers_are_blocked_whole_by_their_beginning_or_for_being_hidden(number: str, blocked: bool) -> None:
    assert is_blocked(number, (ALICE, "+2637*", "anonymous")) is blocked
    assert not is_blocked(number, ())


# Lateness

EVERY_S = 0.1
"""How often the watchdog comes round when it can."""


def looks(lateness: Lateness, at: float, *late_by_s: float) -> float:
    """Let the watchdog come round so often, each time so late; returns when it last did."""
    for late_s in late_by_s:
        at += EVERY_S + late_s
        lateness.observe(at, late_s)
    return at


def test_one_late_moment_is_no_overload_and_two_seconds_of_them_are() -> None:
    lateness = Lateness(0.25)
    at = looks(lateness, 100.0, *[0.0] * 10, 0.3, *[0.0] * 10)
    assert not lateness.late
    at = looks(lateness, at, *[0.3] * 4)
    assert not lateness.late
    looks(lateness, at, 0.3)
    assert lateness.late


def test_a_look_in_time_among_many_that_are_late_begins_nothing_anew() -> None:
    lateness = Lateness(0.25)
    looks(lateness, 100.0, *[0.3, 0.3, 0.24] * 6)
    assert lateness.late, "the lag jitters around the limit"


def test_a_process_that_stood_still_for_as_long_is_late_at_once() -> None:
    lateness = Lateness(0.25)
    looks(lateness, 100.0, 0.0, LATE_FOR_S)
    assert lateness.late


def test_a_process_is_trusted_again_when_it_was_in_time_for_as_long() -> None:
    lateness = Lateness(0.25)
    at = looks(lateness, 100.0, 0.0, LATE_FOR_S)
    at = looks(lateness, at, *[0.0] * 19)
    assert lateness.late
    looks(lateness, at, *[0.0] * 2)
    assert not lateness.late


LAGS = st.lists(st.sampled_from([0.0, 0.05, 0.2, 0.25, 0.4, 1.0, 3.0]), max_size=60)


@given(LAGS)
def test_whatever_was_before_two_seconds_of_one_kind_decide(before: list[float]) -> None:
    for lag_s, late in ((0.0, False), (0.25, True)):
        lateness = Lateness(0.25)
        at = looks(lateness, 100.0, *before)
        looks(lateness, at, *[lag_s] * (int(LATE_FOR_S / (EVERY_S + lag_s)) + 2))
        assert lateness.late is late


@given(LAGS)
def test_who_is_late_for_less_than_half_of_any_while_is_never_shed(lags: list[float]) -> None:
    lateness = Lateness(0.25)
    at = 100.0
    for lag_s in lags:
        at = looks(lateness, at, min(lag_s, LATE_FOR_S / 2))
        late_s = EVERY_S + min(lag_s, LATE_FOR_S / 2)
        at = looks(lateness, at, *[0.0] * (int(late_s / EVERY_S) + 1))
        assert not lateness.late


def test_without_a_limit_nothing_is_late() -> None:
    lateness = Lateness(0.0)
    lateness.observe(100.0, 60.0)
    assert not lateness.late


# Money


def test_a_call_that_is_told_again_costs_only_what_is_new_of_it() -> None:
    spending = Spending()
    for micro_usd in (10, 30, 30, 70):
        spending.note(TODAY, "CA1", micro_usd)
    spending.note(TODAY, "CA2", 5)
    assert spending.today(TODAY) == 75


def test_what_the_records_know_counts_once_whoever_has_spent_it() -> None:
    spending = Spending()
    spending.note(TODAY, "CA1", 40)
    spending.recorded(TODAY, 30)
    assert spending.today(TODAY) == 40, "the records are a moment behind"
    spending.recorded(TODAY, 1040)
    spending.note(TODAY, "CA1", 50)
    assert spending.today(TODAY) == 1050
    spending.recorded(TODAY, 1050)
    spending.recorded(TODAY, 5)
    assert spending.today(TODAY) == 1050, "what is erased was spent all the same"


def test_a_new_day_begins_with_what_calls_of_the_old_one_still_cost() -> None:
    spending = Spending()
    spending.recorded(TODAY, 1000)
    spending.note(TODAY, "CA1", 40)
    spending.note(TOMORROW, "CA1", 55)
    assert spending.today(TOMORROW) == 15

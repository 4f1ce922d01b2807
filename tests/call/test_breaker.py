"""An endpoint that fails is left alone for a while, and tried by one connection when the while is over."""

from hypothesis import given
from hypothesis import strategies as st

from kav.call.breaker import FAILURES, FIRST_REST_S, LIMITED_S, MAX_LIMITED_S, Breaker

REST_S = 30.0


def failed(times: int, rest_s: float = REST_S) -> Breaker:
    breaker = Breaker(rest_s)
    for _ in range(times):
        breaker.failed(100.0)
    return breaker


def test_an_accident_or_two_change_nothing() -> None:
    assert failed(FAILURES - 1).allows(100.0)


def test_failures_in_a_row_close_it_for_a_while_and_that_is_said_once() -> None:
    breaker = Breaker(REST_S)
    assert [breaker.failed(100.0) for _ in range(FAILURES + 2)] == [False] * (FAILURES - 1) + [True, False, False]
    assert not breaker.allows(100.0 + FIRST_REST_S - 0.1)
    assert breaker.rests_s(100.0) == FIRST_REST_S
    assert breaker.allows(100.0 + FIRST_REST_S)


def test_it_is_left_alone_twice_as_long_each_time_that_a_try_fails_and_no_longer_than_that() -> None:
    breaker, now, rests = failed(FAILURES), 100.0, list[float]()
    for _ in range(7):
        breaker.failed(now)  # one that was under way: it counts for nothing
        rests.append(breaker.rests_s(now))
        now += rests[-1]
        assert breaker.allows(now)
        breaker.failed(now)
    assert rests == [1, 2, 4, 8, 16, REST_S, REST_S]
    breaker.worked()
    for _ in range(FAILURES):
        breaker.failed(now)
    assert breaker.rests_s(now) == FIRST_REST_S


def test_then_one_connection_tries_and_the_others_wait_for_it() -> None:
    breaker = failed(FAILURES)
    assert breaker.allows(131.0)
    assert not breaker.allows(131.1)
    breaker.worked()
    assert breaker.allows(131.2)


def test_one_that_answers_is_open_to_all_and_the_next_failure_closes_it() -> None:
    """It may be there and do nothing: that shows only in a call."""
    breaker = failed(FAILURES)
    assert breaker.allows(131.0)
    breaker.answered()
    assert breaker.allows(131.1)
    assert breaker.failed(132.0)
    assert not breaker.allows(132.1)


def test_an_answer_alone_forgets_no_failure() -> None:
    breaker = failed(FAILURES - 1)
    breaker.answered()
    breaker.failed(100.0)
    assert not breaker.allows(100.1)


def test_too_many_requests_are_remembered_as_long_as_they_say_and_close_nothing() -> None:
    breaker = Breaker(REST_S)
    breaker.limited(100.0)
    assert breaker.allows(100.0)
    assert breaker.is_limited(100.0 + LIMITED_S - 1)
    assert not breaker.is_limited(100.0 + LIMITED_S)
    breaker.limited(200.0, 1e9)
    breaker.limited(200.0, 1.0)
    assert breaker.is_limited(200.0 + MAX_LIMITED_S - 1)
    assert not breaker.is_limited(200.0 + MAX_LIMITED_S)


def test_a_success_forgets_what_was_before() -> None:
    breaker = failed(FAILURES - 1)
    breaker.worked()
    breaker.failed(100.0)
    assert breaker.allows(100.0)


def test_without_a_rest_it_is_asked_whatever_it_does() -> None:
    assert failed(FAILURES + 5, rest_s=0).allows(100.0)


@given(st.lists(st.tuples(st.sampled_from(["failed", "answered", "worked", "asked"]), st.floats(0, 5))))
def test_while_it_rests_nobody_asks_but_one_each_time(history: list[tuple[str, float]]) -> None:
    breaker, now, asked_at = Breaker(REST_S), 100.0, list[float]()
    for what, later_s in history:
        now += later_s
        if what == "asked":
            resting = breaker.failures >= FAILURES
            if breaker.allows(now) and resting:
                assert not asked_at or now - asked_at[-1] >= FIRST_REST_S
                asked_at.append(now)
        elif what == "failed":
            breaker.failed(now)
        else:
            getattr(breaker, what)()
            asked_at.clear()

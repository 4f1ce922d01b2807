"""An endpoint that fails is left alone for a while, and tried by one connection when the while is over."""

from kav.call.breaker import FAILURES, LIMITED_S, REST_S, Breaker


def failed(times: int) -> Breaker:
    breaker = Breaker()
    for _ in range(times):
        breaker.failed(100.0)
    return breaker


def test_an_accident_or_two_change_nothing() -> None:
    assert failed(FAILURES - 1).allows(100.0)


def test_failures_in_a_row_close_it_for_a_while() -> None:
    breaker = failed(FAILURES)
    assert not breaker.allows(100.0 + REST_S - 1)
    assert breaker.allows(100.0 + REST_S)


def test_then_one_connection_tries_and_the_others_wait_for_it() -> None:
    breaker = failed(FAILURES)
    assert breaker.allows(131.0)
    assert not breaker.allows(131.1)
    breaker.succeeded()
    assert breaker.allows(131.2)


def test_too_many_requests_close_it_at_once_and_for_less() -> None:
    breaker = Breaker()
    breaker.failed(100.0, limited=True)
    assert not breaker.allows(100.0 + LIMITED_S - 1)
    assert breaker.allows(100.0 + LIMITED_S)


def test_a_success_forgets_what_was_before() -> None:
    breaker = failed(FAILURES - 1)
    breaker.succeeded()
    breaker.failed(100.0)
    assert breaker.allows(100.0)

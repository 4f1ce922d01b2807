"""Guards the pace of guessing: few wrong passwords from one address, not many from all, and patience ends."""

from hypothesis import given
from hypothesis import strategies as st

from kav.console.attempts import ALTOGETHER, PER_ADDRESS, WINDOW_S, Attempts


def test_an_address_has_a_few_tries_and_then_waits_out_the_window() -> None:
    attempts = Attempts()
    for second in range(PER_ADDRESS):
        assert attempts.wait_s(second, "a") == 0
        attempts.failed(second, "a")
    assert attempts.wait_s(10, "a") == WINDOW_S - 10
    assert attempts.wait_s(10, "b") == 0
    assert attempts.wait_s(WINDOW_S, "a") == 0, "the oldest failure has left the window"


def test_who_succeeds_begins_anew() -> None:
    attempts = Attempts()
    for _ in range(PER_ADDRESS - 1):
        attempts.failed(0, "a")
    attempts.succeeded("a")
    attempts.failed(1, "a")
    assert attempts.wait_s(2, "a") == 0


def test_many_addresses_together_wait_too() -> None:
    attempts = Attempts()
    for number in range(ALTOGETHER):
        attempts.failed(0, f"address {number}")
    assert attempts.wait_s(1, "a new one") == WINDOW_S - 1


@given(st.lists(st.tuples(st.floats(0, 5000), st.sampled_from("abc"))))
def test_nobody_waits_for_more_than_one_window(failures: list[tuple[float, str]]) -> None:
    attempts = Attempts()
    for now, address in sorted(failures):
        assert 0 <= attempts.wait_s(now, address) <= WINDOW_S
        attempts.failed(now, address)

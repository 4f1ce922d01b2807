"""Silence is measured while it is the caller's turn, asks once, and ends a call that nobody is on."""

from hypothesis import given
from hypothesis import strategies as st

from kav.call.silence import LONGEST_STEP_S, SilenceClock


def run(clock: SilenceClock, seconds: float, start: float = 0.0, idle: bool = True) -> list[str]:
    looks = [clock.tick(start + step / 10, idle=idle) for step in range(int(seconds * 10) + 1)]
    return [look for look in looks if look is not None]


def test_asks_once_at_4_s_and_closes_at_7_s() -> None:
    clock = SilenceClock()
    assert run(clock, 3.8) == []
    assert run(clock, 0.5, start=3.9) == ["ask"]
    assert run(clock, 2.3, start=4.5) == []
    assert run(clock, 0.3, start=6.9)[-1] == "close"


def test_stands_still_while_the_bot_speaks_and_goes_on_from_there() -> None:
    clock = SilenceClock()
    run(clock, 4.2)
    assert run(clock, 60, start=5, idle=False) == []
    assert run(clock, 2.0, start=70) == []
    assert run(clock, 1.5, start=72.1)[0] == "close"


def test_the_caller_resets_it() -> None:
    clock = SilenceClock()
    run(clock, 6.5)
    clock.reset()
    assert run(clock, 3.8, start=7) == []
    assert run(clock, 0.5, start=10.9) == ["ask"]


def test_a_process_that_stood_still_heard_no_silence() -> None:
    clock = SilenceClock()
    assert clock.tick(0.0, idle=True) is None
    assert clock.tick(60.0, idle=True) is None
    assert clock.silent_s == LONGEST_STEP_S


@given(st.lists(st.tuples(st.floats(0, 0.4), st.booleans()), max_size=200))
def test_never_counts_more_than_was_silent(looks: list[tuple[float, bool]]) -> None:
    clock, at, silent, was_idle = SilenceClock(), 0.0, 0.0, False
    for gap, idle in looks:
        at += gap
        silent += gap if idle and was_idle else 0.0
        was_idle = idle
        clock.tick(at, idle=idle)
        assert clock.silent_s <= silent + 1e-6

"""A goodbye that was cut is no goodbye; barge-in takes the hang-up back, twice at the most."""

from kav.call.farewell import Farewell


def test_a_closing_that_was_never_completed_ends_nothing() -> None:
    farewell = Farewell()
    assert not farewell.said
    assert not farewell.interrupt()
    assert farewell.taken_back == 0


def test_barge_in_takes_the_hang_up_back_twice_and_the_third_goodbye_stands() -> None:
    farewell = Farewell()
    for _ in range(2):
        farewell.say()
        assert not farewell.interrupt()
        assert not farewell.said
    farewell.say()
    assert farewell.interrupt()
    assert farewell.said

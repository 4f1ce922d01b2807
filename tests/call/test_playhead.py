"""What the caller has heard: never more than the truth, and close to it, whatever the network's delay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kav.call.playhead import BYTES_PER_MS, CAUTION_MS, Interruption, Playhead


def ms(amount: float) -> int:
    return round(amount * BYTES_PER_MS)


@pytest.fixture
def playhead() -> Playhead:
    return Playhead()


def test_first_mark_comes_after_200_ms_then_every_400_then_at_the_end(playhead: Playhead) -> None:
    marks = [playhead.send(0.0, "item", ms(100)) for _ in range(12)]
    assert [bool(mark) for mark in marks] == [False, True, *[False, False, False, True] * 2, False, False]
    assert playhead.complete() is not None


def test_last_mark_is_not_sent_twice(playhead: Playhead) -> None:
    assert playhead.send(0.0, "item", ms(200)) is not None
    assert playhead.complete() is None
    assert playhead.complete() is None


def test_heard_grows_with_time_and_stops_at_what_was_sent(playhead: Playhead) -> None:
    playhead.send(10.0, "item", ms(500))
    assert playhead.heard(10.2) == pytest.approx(ms(200), abs=1)
    assert playhead.heard(12.0) == ms(500)


def test_heard_starts_anew_after_a_pause(playhead: Playhead) -> None:
    mark = playhead.send(10.0, "first", ms(200))
    assert mark is not None
    playhead.acknowledge(10.2, mark)
    playhead.send(15.0, "second", ms(1000))
    assert playhead.heard(15.1) == pytest.approx(ms(300), abs=1)


def test_mark_of_an_older_generation_is_not_heard(playhead: Playhead) -> None:
    mark = playhead.send(0.0, "old", ms(3000))
    assert mark is not None
    playhead.interrupt(0.5, response_active=True)
    playhead.send(0.6, "new", ms(1000))
    assert playhead.acknowledge(0.6, mark) is False
    assert playhead.heard(0.7) == pytest.approx(ms(100), abs=1)


def test_unknown_and_repeated_marks_are_not_heard(playhead: Playhead) -> None:
    mark = playhead.send(0.0, "item", ms(400))
    assert mark is not None
    assert playhead.acknowledge(0.1, "stranger") is False
    assert playhead.acknowledge(0.4, mark) is True
    assert playhead.acknowledge(0.9, mark) is False


def test_interruption_truncates_the_item_being_heard_at_what_was_heard(playhead: Playhead) -> None:
    playhead.send(0.0, "item", ms(3000))
    cut = playhead.interrupt(0.5, response_active=False)
    assert cut.clear
    assert cut.truncate == ("item", 500 - CAUTION_MS)
    assert cut.delete == ()


def test_interruption_deletes_the_items_that_had_not_begun(playhead: Playhead) -> None:
    for item in ("one", "two", "three"):
        playhead.send(0.0, item, ms(1000))
        playhead.complete()
    cut = playhead.interrupt(1.5, response_active=False)
    assert cut.truncate == ("two", 500 - CAUTION_MS)
    assert cut.delete == ("three",)


def test_interruption_before_anything_sounded_deletes(playhead: Playhead) -> None:
    playhead.send(1.0, "item", ms(200))
    cut = playhead.interrupt(1.0, response_active=True)
    assert cut == Interruption(clear=True, truncate=None, delete=("item",))


def test_nothing_unplayed_means_no_clear_and_no_truncation(playhead: Playhead) -> None:
    playhead.send(0.0, "item", ms(100))
    mark = playhead.complete()
    assert mark is not None
    playhead.acknowledge(0.1, mark)
    cut = playhead.interrupt(5.0, response_active=False)
    assert (cut.clear, cut.truncate, cut.delete) == (False, None, ())


def test_an_item_the_model_may_still_extend_is_truncated_even_if_all_of_it_was_heard(playhead: Playhead) -> None:
    mark = playhead.send(0.0, "item", ms(200))
    assert mark is not None
    playhead.acknowledge(0.2, mark)
    cut = playhead.interrupt(0.9, response_active=True)
    assert not cut.clear
    assert cut.truncate == ("item", 200 - CAUTION_MS)


def test_interruption_shortly_before_the_last_mark_still_clears(playhead: Playhead) -> None:
    playhead.send(0.0, "item", ms(1000))
    playhead.complete()
    cut = playhead.interrupt(0.97, response_active=False)
    assert cut.clear
    assert cut.truncate == ("item", 970 - CAUTION_MS)


class Twilio:
    """The truth: Twilio's buffer behind a network with a constant one-way delay, in bytes and seconds."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.ends_at = 0.0
        self.spans: list[tuple[float, int]] = []
        self.echoes: list[tuple[float, str]] = []

    def media(self, at: float, length: int) -> None:
        start = max(at + self.delay, self.ends_at)
        self.spans.append((start, length))
        self.ends_at = start + length / 8000

    def mark(self, at: float, name: str) -> None:
        self.echoes.append((max(at + self.delay, self.ends_at) + self.delay, name))

    def heard(self, at: float) -> float:
        return sum(min(max(0.0, at - start) * 8000, length) for start, length in self.spans)


@given(
    delay=st.sampled_from([0.0, 0.02, 0.1, 0.3]),
    deltas=st.lists(st.tuples(st.floats(0, 0.7), st.integers(20, 900)), min_size=1, max_size=25),
    wait=st.floats(0, 4),
)
def test_heard_is_never_above_the_truth_and_at_most_a_round_trip_below(
    delay: float, deltas: list[tuple[float, int]], wait: float
) -> None:
    """For any rhythm of deltas: what Kav believes at the moment of `clear` against what sounds until it arrives."""
    playhead, twilio = Playhead(), Twilio(delay)
    now = 100.0

    def advance_to(at: float) -> None:
        for when, name in sorted(twilio.echoes):
            if when <= at:
                playhead.acknowledge(when, name)
        twilio.echoes = [echo for echo in twilio.echoes if echo[0] > at]

    for gap, length_ms in deltas:
        now += gap
        advance_to(now)
        mark = playhead.send(now, "item", ms(length_ms))
        twilio.media(now, ms(length_ms))
        if mark is not None:
            twilio.mark(now, mark)
    last = playhead.complete()
    if last is not None:
        twilio.mark(now, last)
    now += wait
    advance_to(now)
    truth_ms = twilio.heard(now + delay) / BYTES_PER_MS
    believed_ms = playhead.heard(now) / BYTES_PER_MS
    assert believed_ms <= truth_ms + 0.5
    assert believed_ms >= truth_ms - 2 * delay * 1000 - 0.5


@given(steps=st.lists(st.tuples(st.sampled_from("sdai"), st.integers(1, 3000), st.floats(0, 2)), max_size=60))
def test_truncation_is_never_above_received_audio(steps: list[tuple[str, int, float]]) -> None:
    playhead, now, received, marks = Playhead(), 0.0, dict[str, int](), list[str]()
    for number, (step, length, gap) in enumerate(steps):
        now += gap
        if step == "s":
            item = f"item{number // 4}"
            received[item] = received.get(item, 0) + length
            marks += filter(None, [playhead.send(now, item, length)])
        elif step == "d":
            marks += filter(None, [playhead.complete()])
        elif step == "a" and marks:
            playhead.acknowledge(now, marks[length % len(marks)])
        elif step == "i":
            cut = playhead.interrupt(now, response_active=bool(length % 2))
            if cut.truncate is not None:
                item, heard_ms = cut.truncate
                assert 0 < heard_ms * BYTES_PER_MS <= received[item]
                assert item not in cut.delete
        assert 0 <= playhead.heard(now) <= playhead.sent

"""Guards the stand-in's ear: what sounded, when, which marks came back, and what a clear took away."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.twilio.playback import MAX_BUFFERED_S, Playback, Segment

SECOND = b"\x01" * 8000


def test_media_plays_at_once_and_in_order() -> None:
    playback = Playback()
    playback.append(b"\x01" * 800, 10.0)
    playback.append(b"\x02" * 800, 10.0)

    assert playback.heard(10.15) == [Segment(10.0, b"\x01" * 800 + b"\x02" * 400)]


def test_the_position_is_exact_to_the_sample_of_the_time_given() -> None:
    playback = Playback()
    playback.append(SECOND, 10.0)

    assert playback.heard_ms(10.0) == 0
    assert playback.heard_ms(10.0 + 1 / 8000) == 0.125
    assert playback.heard_ms(10.333) == 333
    assert playback.heard_ms(99.0) == 1000


def test_a_pause_in_the_media_is_a_pause_in_what_is_heard() -> None:
    playback = Playback()
    playback.append(SECOND, 10.0)
    playback.append(SECOND, 15.0)

    assert playback.heard(15.5) == [Segment(10.0, SECOND), Segment(15.0, SECOND[:4000])]


def test_a_mark_on_an_empty_buffer_is_due_at_once() -> None:
    playback = Playback()
    playback.mark("now", 10.0)

    assert playback.due(10.0) == ["now"]


def test_a_mark_is_due_when_everything_before_it_has_been_played() -> None:
    playback = Playback()
    playback.append(SECOND, 10.0)
    playback.mark("first", 10.2)
    playback.append(SECOND, 10.3)
    playback.mark("second", 10.3)

    assert playback.next_due() == pytest.approx(11.0)
    assert playback.due(10.99) == []
    assert playback.due(11.001) == ["first"]
    assert playback.due(12.001) == ["second"]
    assert playback.next_due() is None


def test_clear_drops_the_rest_and_echoes_every_pending_mark() -> None:
    playback = Playback()
    playback.append(SECOND, 10.0)
    playback.mark("a", 10.0)
    playback.append(SECOND, 10.0)
    playback.mark("b", 10.0)

    assert playback.clear(10.25) == ["a", "b"]
    assert playback.heard(99.0) == [Segment(10.0, SECOND[:2000])]
    assert playback.discarded == [Segment(10.25, b"\x01" * 14000)]
    assert playback.due(99.0) == []


def test_media_after_clear_plays_at_once() -> None:
    playback = Playback()
    playback.append(SECOND, 10.0)
    playback.clear(10.25)
    playback.append(b"\x02" * 800, 10.25)

    assert b"".join(segment.audio for segment in playback.heard(11.0)) == SECOND[:2000] + b"\x02" * 800


def test_clear_with_nothing_unplayed_takes_nothing() -> None:
    playback = Playback()
    playback.append(SECOND, 10.0)

    assert playback.clear(11.5) == []
    assert playback.discarded == []
    assert playback.heard_ms(11.5) == 1000


def test_the_end_of_the_stream_silences_and_echoes_nothing() -> None:
    playback = Playback()
    playback.append(SECOND, 10.0)
    playback.mark("goodbye", 10.0)
    playback.stop(10.5)

    assert playback.heard_ms(99.0) == 500
    assert playback.due(99.0) == []


def test_beyond_ten_minutes_of_buffer_new_media_is_refused() -> None:
    playback = Playback()

    assert playback.append(b"\x01" * int(MAX_BUFFERED_S * 8000), 10.0)
    assert not playback.append(SECOND, 10.5)
    assert playback.append(SECOND, 11.5)


steps = st.lists(st.tuples(st.sampled_from(["media", "mark", "clear", "wait"]), st.integers(0, 400)), max_size=60)


@given(steps)
def test_whatever_happens_each_byte_is_heard_or_discarded_and_each_mark_comes_back_once(
    script: list[tuple[str, int]],
) -> None:
    playback, now, sent, marks, echoed = Playback(), 100.0, 0, [], []
    for n, (act, amount) in enumerate(script):
        now += amount / 1000 if act == "wait" else 0
        echoed += playback.due(now)
        if act == "media":
            playback.append(bytes([n]) * amount * 8, now)
            sent += amount * 8
        elif act == "mark":
            playback.mark(str(n), now)
            marks.append(str(n))
        elif act == "clear":
            echoed += playback.clear(now)
    echoed += playback.due(now + 1000)

    heard = sum(len(segment.audio) for segment in playback.heard(now + 1000))
    assert heard + sum(len(segment.audio) for segment in playback.discarded) == sent
    assert echoed == marks

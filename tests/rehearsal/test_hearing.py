"""Guards the rehearsal's own ear: which line sounded, when, how far, and what came that should not have come."""

from dataclasses import dataclass

from rehearsal.audio import tone
from rehearsal.hearing import Hearing

CHUNK = 1600
"""200 ms, as the model sends it."""


@dataclass(frozen=True)
class Spoken:
    audio: bytes


SAME_START = tone(300, 200)
FIRST = Spoken(SAME_START + tone(400, 800))
SECOND = Spoken(SAME_START + tone(500, 600))


def send(hearing: Hearing, at: float, audio: bytes) -> None:
    for start in range(0, len(audio), CHUNK):
        hearing.media(at, audio[start : start + CHUNK])


def test_a_line_that_comes_whole_is_heard_whole_and_in_its_time() -> None:
    hearing = Hearing([FIRST])
    send(hearing, 10.0, FIRST.audio)
    (sound,) = hearing.sounds
    assert (sound.began_at, round(sound.ends_at, 6), sound.complete) == (10.0, 11.0, True)
    assert round(sound.heard_ms(10.25), 6) == 250


def test_the_next_line_begins_when_the_one_before_has_sounded() -> None:
    hearing = Hearing([FIRST, SECOND])
    send(hearing, 10.0, FIRST.audio)
    send(hearing, 10.1, SECOND.audio)
    assert [round(sound.began_at, 6) for sound in hearing.sounds] == [10.0, 11.0]


def test_a_clear_cuts_what_sounds_and_drops_what_waits() -> None:
    hearing = Hearing([FIRST, SECOND])
    send(hearing, 10.0, FIRST.audio)
    send(hearing, 10.1, SECOND.audio)
    hearing.clear(10.4)
    cut, dropped = hearing.sounds
    assert (cut.cut, cut.complete, round(cut.heard_ms(99), 6)) == ("cleared", False, 400)
    assert not dropped.sounded


def test_a_clear_after_the_last_sample_cuts_nothing() -> None:
    hearing = Hearing([FIRST])
    send(hearing, 10.0, FIRST.audio)
    hearing.clear(11.0)
    assert hearing.sounds[0].complete


def test_audio_of_a_line_that_was_cleared_is_late() -> None:
    hearing = Hearing([FIRST])
    hearing.media(10.0, FIRST.audio[:CHUNK])
    hearing.clear(10.1)
    hearing.media(10.2, FIRST.audio[CHUNK : 2 * CHUNK])
    assert (hearing.late_bytes, hearing.strange_bytes) == (CHUNK, 0)


def test_audio_that_nobody_said_is_strange() -> None:
    hearing = Hearing([FIRST])
    hearing.media(10.0, tone(2600, 200))
    assert (hearing.late_bytes, hearing.strange_bytes) == (0, CHUNK)


def test_a_line_that_begins_as_one_that_never_came_is_told_by_what_follows() -> None:
    hearing = Hearing([FIRST, SECOND])
    send(hearing, 10.0, SECOND.audio)
    (sound,) = hearing.sounds
    assert sound.line is SECOND
    assert sound.complete
    assert sound.began_at == 10.0


def test_the_end_of_the_stream_cuts_what_was_still_to_sound() -> None:
    hearing = Hearing([FIRST, SECOND])
    send(hearing, 10.0, FIRST.audio)
    hearing.over(10.3)
    send(hearing, 20.0, SECOND.audio)
    assert [sound.cut for sound in hearing.sounds] == ["stream over", ""]
    assert hearing.sounds[1].began_at == 20.0

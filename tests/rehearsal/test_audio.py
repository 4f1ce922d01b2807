"""Guards the telephone's sound: what mu-law keeps, what resampling lets through, and what a WAV holds."""

import math
import wave
from array import array
from pathlib import Path

import pytest

from rehearsal import audio


def sine(hz: float, rate: int, seconds: float = 0.5) -> "array[int]":
    return array("h", (round(16000 * math.sin(2 * math.pi * hz * n / rate)) for n in range(int(rate * seconds))))


def rms(samples: "array[int]") -> float:
    return math.sqrt(sum(sample * sample for sample in samples) / len(samples))


def test_every_ulaw_byte_survives_decoding_and_encoding() -> None:
    codes = bytes(code for code in range(256) if code != 0x7F)  # 0x7F is the other zero

    assert audio.encode_ulaw(audio.decode_ulaw(codes)) == codes


@pytest.mark.parametrize(("code", "sample"), [(0xFF, 0), (0x7F, 0), (0x00, -32124), (0x80, 32124), (0xF2, 104)])
def test_ulaw_is_that_of_the_standard(code: int, sample: int) -> None:
    assert audio.decode_ulaw(bytes([code]))[0] == sample


def test_encoding_errs_by_less_than_a_step_of_the_segment() -> None:
    samples = array("h", range(-32000, 32001, 7))

    decoded = audio.decode_ulaw(audio.encode_ulaw(samples))

    assert all(abs(a - b) <= max(4, abs(a) / 16) for a, b in zip(samples, decoded, strict=True))


@pytest.mark.parametrize("hz", [300, 1000, 3000])
def test_resampling_keeps_the_telephone_band(hz: int) -> None:
    resampled = audio.to_phone_rate(sine(hz, 22050), 22050)

    assert len(resampled) == 4000
    assert rms(resampled[400:-400]) == pytest.approx(rms(sine(hz, 22050)), rel=0.01)


@pytest.mark.parametrize("hz", [4400, 5000, 8000, 10000])
def test_resampling_folds_nothing_back_into_the_band(hz: int) -> None:
    resampled = audio.to_phone_rate(sine(hz, 22050), 22050)

    assert rms(resampled[400:-400]) < rms(sine(hz, 22050)) / 1000


def test_loudness_is_measured_where_somebody_speaks() -> None:
    line = sine(440, 8000) + array("h", bytes(16000)) + sine(440, 8000)

    louder = audio.with_loudness(line, 4000)

    assert rms(louder[:4000]) == pytest.approx(4000, rel=0.01)


def test_a_silent_line_stays_silent_whatever_loudness_is_asked() -> None:
    assert not any(audio.with_loudness(array("h", bytes(3200)), 4000))


def test_trimming_leaves_a_line_that_begins_and_ends_with_sound() -> None:
    padded = array("h", bytes(800)) + sine(440, 8000) + array("h", bytes(800))

    kept = audio.trimmed(padded, 200)

    assert abs(kept[0]) > 200
    assert abs(kept[-1]) > 200
    assert 3980 < len(kept) <= 4000


def test_a_time_line_puts_each_segment_where_it_sounded() -> None:
    track = audio.on_time_line([(10.5, b"\x01" * 80), (11.0, b"\x02" * 8000)], origin_s=10.0, end_s=11.5)

    assert len(track) == 12000
    assert track[3999:4081] == b"\xff" + b"\x01" * 80 + b"\xff"
    assert track[8000:] == b"\x02" * 4000


def test_a_time_line_cuts_what_began_before_it() -> None:
    assert audio.on_time_line([(0.0, b"\x01" * 8000)], origin_s=0.999, end_s=1.001) == b"\x01" * 8 + b"\xff" * 8


def test_a_wav_has_the_caller_on_the_left_and_the_bot_on_the_right(tmp_path: Path) -> None:
    left, right = audio.tone(440, 100), audio.tone(880, 200)

    audio.write_stereo_wav(tmp_path / "call.wav", left, right)

    with wave.open(str(tmp_path / "call.wav")) as wav:
        assert (wav.getnchannels(), wav.getsampwidth(), wav.getframerate(), wav.getnframes()) == (2, 2, 8000, 1600)
        samples = array("h", wav.readframes(1600))
    assert samples[0::2][:800] == audio.decode_ulaw(left)
    assert not any(samples[0::2][800:])
    assert samples[1::2] == audio.decode_ulaw(right)

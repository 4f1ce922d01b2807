"""Telephone audio: mu-law at 8 kHz, one byte a sample, and what a rehearsal needs to make and keep it.

Plain Python, for `audioop` left the standard library in 3.13 and numpy is no dependency. All functions are pure but the
WAV writer. Audio without further word is mu-law, 8000 Hz, mono, without a header: exactly a media message's payload.
"""

import math
import wave
from array import array
from collections.abc import Iterable, Sequence
from functools import lru_cache
from operator import mul
from pathlib import Path

SAMPLE_RATE = 8000
FRAME_BYTES = 160
"""One of Twilio's frames: 20 ms."""
FRAME_S = FRAME_BYTES / SAMPLE_RATE
SILENCE = 0xFF
"""Mu-law zero. 0x00 is nearly full scale: a loud click."""

_BIAS, _CLIP = 0x84, 32635  # ITU-T G.711 in the 16-bit form every telephone library uses
_FULL_SCALE = 32767
_PASS_HZ, _STOP_HZ = 3300, 4300  # the telephone band; what is left above 4 kHz folds back under it, 20 dB down and more
_LOUDEST_GAIN = 32.0  # a whisper is lifted, a silent line is not turned into noise


def _decode_byte(code: int) -> int:
    """One mu-law byte as a 16-bit sample."""
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + _BIAS << (code >> 4 & 0x07)) - _BIAS
    return -magnitude if code & 0x80 else magnitude


def _encode_sample(sample: int) -> int:
    """One 16-bit sample as a mu-law byte."""
    sign = 0x80 if sample < 0 else 0
    magnitude = min(abs(sample), _CLIP) + _BIAS
    exponent = magnitude.bit_length() - 8
    return ~(sign | exponent << 4 | magnitude >> exponent + 3 & 0x0F) & 0xFF


_DECODED = tuple(_decode_byte(code) for code in range(256))
_ENCODED = bytes(_encode_sample(word - 0x10000 if word > _FULL_SCALE else word) for word in range(0x10000))


def decode_ulaw(audio: bytes) -> "array[int]":
    """Mu-law as 16-bit samples."""
    return array("h", map(_DECODED.__getitem__, audio))


def encode_ulaw(samples: "array[int]") -> bytes:
    """16-bit samples (an `array("h")`) as mu-law."""
    return bytes(map(_ENCODED.__getitem__, memoryview(samples).cast("B").cast("H")))


def silence(ms: float) -> bytes:
    """So many milliseconds of a silent line."""
    return bytes([SILENCE]) * _samples(ms)


def tone(hz: float, ms: float, amplitude: float = 0.3) -> bytes:
    """A sine, `amplitude` as a share of full scale; a fingerprint that a test finds again in what was heard."""
    step = 2 * math.pi * hz / SAMPLE_RATE
    peak = amplitude * _FULL_SCALE
    return encode_ulaw(array("h", (round(peak * math.sin(step * n)) for n in range(_samples(ms)))))


def duration_ms(audio: bytes) -> float:
    """How long it plays."""
    return len(audio) * 1000 / SAMPLE_RATE


def to_phone_rate(samples: Sequence[int], rate: int) -> "array[int]":
    """Resample 16-bit samples from `rate` Hz to 8 kHz, with everything above the telephone band filtered out."""
    up, down, filters = _polyphase(rate)
    half = len(filters[0]) // 2
    padded = [0] * half + list(samples) + [0] * (half + 1)
    resampled = array("h")
    for n in range(len(samples) * up // down):
        start, phase = divmod(n * down, up)
        taps = filters[phase]
        value = round(sum(map(mul, taps, padded[start : start + len(taps)])))
        resampled.append(max(-_FULL_SCALE, min(_FULL_SCALE, value)))
    return resampled


@lru_cache(maxsize=4)
def _polyphase(rate: int) -> tuple[int, int, tuple[tuple[float, ...], ...]]:
    """`(up, down, one FIR filter a phase)` for `rate` Hz to 8 kHz: a sinc in a Blackman window."""
    common = math.gcd(rate, SAMPLE_RATE)
    up, down = SAMPLE_RATE // common, rate // common
    cutoff = (_PASS_HZ + _STOP_HZ) / 2 / rate  # in cycles an input sample
    half = math.ceil(2.75 * rate / (_STOP_HZ - _PASS_HZ))  # Blackman's transition is 5.5 bins wide
    return up, down, tuple(_taps(phase / up, half, cutoff) for phase in range(up))


def _taps(offset: float, half: int, cutoff: float) -> tuple[float, ...]:
    """The filter for an output sample that lies `offset` input samples after the middle; its sum is 1."""
    taps = []
    for k in range(-half, half + 1):
        x = k - offset
        sinc = 2 * cutoff if x == 0 else math.sin(2 * math.pi * cutoff * x) / (math.pi * x)
        window = 0.42 + 0.5 * math.cos(math.pi * x / (half + 1)) + 0.08 * math.cos(2 * math.pi * x / (half + 1))
        taps.append(sinc * window)
    total = sum(taps)
    return tuple(tap / total for tap in taps)


def with_loudness(samples: "array[int]", rms: float) -> "array[int]":
    """The same, with this RMS (16-bit units) over the frames in which somebody speaks; peaks are clipped."""
    frames = [samples[n : n + FRAME_BYTES] for n in range(0, len(samples), FRAME_BYTES)]
    energies = [sum(map(mul, frame, frame)) / len(frame) for frame in frames]
    floor = max(energies, default=0) / 100  # 20 dB under the loudest frame is a pause
    spoken = [energy for energy in energies if energy > floor]
    if not spoken:
        return samples
    gain = min(_LOUDEST_GAIN, rms / math.sqrt(sum(spoken) / len(spoken)))
    return array("h", (max(-_FULL_SCALE, min(_FULL_SCALE, round(sample * gain))) for sample in samples))


def trimmed(samples: "array[int]", threshold: int) -> "array[int]":
    """Without the quiet head and tail, so that a line begins when it is said to begin."""
    loud = [n for n, sample in enumerate(samples) if abs(sample) > threshold]
    return samples[loud[0] : loud[-1] + 1] if loud else array("h")


def on_time_line(segments: Iterable[tuple[float, bytes]], origin_s: float, end_s: float) -> bytes:
    """Segments of `(start in seconds, audio)` laid on one track from `origin_s` to `end_s`; silence between them.

    What lies outside is cut; where two overlap the later wins.
    """
    track = bytearray(silence((end_s - origin_s) * 1000))
    for start_s, audio in segments:
        at = round((start_s - origin_s) * SAMPLE_RATE)
        part = audio[max(0, -at) : max(0, len(track) - at)]
        track[max(0, at) : max(0, at) + len(part)] = part
    return bytes(track)


def write_stereo_wav(path: Path, left: bytes, right: bytes) -> None:
    """A 16-bit WAV of two mu-law tracks; the shorter is filled with silence."""
    length = max(len(left), len(right))
    samples = array("h", bytes(4 * length))
    samples[0::2] = decode_ulaw(left.ljust(length, bytes([SILENCE])))
    samples[1::2] = decode_ulaw(right.ljust(length, bytes([SILENCE])))
    with wave.open(str(path), "wb") as wav:
        wav.setnchannels(2)
        wav.setsampwidth(2)
        wav.setframerate(SAMPLE_RATE)
        wav.writeframes(samples.tobytes())


def _samples(ms: float) -> int:
    return max(0, round(ms * SAMPLE_RATE / 1000))

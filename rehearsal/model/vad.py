"""Voice activity detection on the caller's audio: when did speech begin, when did it stop.

The detector proper is Google's WebRTC one (`webrtcvad`): 20 ms frames at 8 kHz. Around it stands what the Realtime API
documents for `server_vad`: threshold, prefix padding and silence duration. Pure: the only clock is the audio itself.
"""

from collections import deque
from dataclasses import dataclass

import webrtcvad

from rehearsal.model.mulaw import BYTES_PER_MS, is_digital_silence, to_pcm16

FRAME_MS = 20
FRAME_BYTES = FRAME_MS * BYTES_PER_MS
_WINDOW_FRAMES, _VOICED_TO_START = 5, 3  # a click is one or two frames and no speech
_SEMANTIC_SILENCE_MS = {"low": 1200, "medium": 700, "auto": 700, "high": 400}


@dataclass(frozen=True)
class SpeechStarted:
    """`audio_start_ms`: since the session's first audio byte, prefix padding included."""

    audio_start_ms: int


@dataclass(frozen=True)
class SpeechStopped:
    """`audio_end_ms`: since the session's first audio byte, the silence that ended the turn included."""

    audio_end_ms: int


def aggressiveness(threshold: float) -> int:
    """webrtcvad's 0..3 for the API's 0..1; Kav's default 0.6 is 2, the API's default 0.5 is 1."""
    return sum(threshold >= step for step in (0.35, 0.55, 0.75))


class VoiceActivity:
    """Finds turns in mu-law audio fed in pieces of any size."""

    def __init__(self, turn_detection: dict[str, object], offset_ms: int = 0) -> None:
        """`turn_detection`: the session's setting; `offset_ms`: audio that came before this detector."""
        self.speaking = False
        self._prefix_ms = _number(turn_detection, "prefix_padding_ms", 300)
        self._silence_frames = max(1, silence_ms(turn_detection) // FRAME_MS)
        self._vad = webrtcvad.Vad(aggressiveness(float(str(turn_detection.get("threshold", 0.5)))))
        self._tail = b""
        self._offset_ms = offset_ms
        self._frames = 0
        self._recent: deque[bool] = deque(maxlen=_WINDOW_FRAMES)
        self._quiet_frames = 0

    def feed(self, audio: bytes) -> list[SpeechStarted | SpeechStopped]:
        """Take the next piece of audio, return what it changed, in order."""
        audio = self._tail + audio if self._tail else audio
        whole = len(audio) - len(audio) % FRAME_BYTES
        self._tail = audio[whole:]
        found = (self._frame(audio[at : at + FRAME_BYTES]) for at in range(0, whole, FRAME_BYTES))
        return [event for event in found if event is not None]

    def _frame(self, frame: bytes) -> SpeechStarted | SpeechStopped | None:
        self._frames += 1
        voiced = not is_digital_silence(frame) and bool(self._vad.is_speech(to_pcm16(frame), 8000))
        return self._maybe_stop(voiced) if self.speaking else self._maybe_start(voiced)

    def _maybe_start(self, voiced: bool) -> SpeechStarted | None:
        self._recent.append(voiced)
        if sum(self._recent) < _VOICED_TO_START:
            return None
        return self._start(self._frames - len(self._recent) + list(self._recent).index(True))

    def start(self) -> SpeechStarted | None:
        """Take the line for speech now, whatever it sounds like; the usual silence ends it. None if it is already."""
        return None if self.speaking else self._start(self._frames)

    def _start(self, first_frame: int) -> SpeechStarted:
        self.speaking = True
        self._quiet_frames = 0
        self._recent.clear()
        return SpeechStarted(max(0, self._offset_ms + first_frame * FRAME_MS - self._prefix_ms))

    def _maybe_stop(self, voiced: bool) -> SpeechStopped | None:
        self._quiet_frames = 0 if voiced else self._quiet_frames + 1
        if self._quiet_frames < self._silence_frames:
            return None
        self.speaking = False
        return SpeechStopped(self._offset_ms + self._frames * FRAME_MS)


def silence_ms(turn_detection: dict[str, object]) -> int:
    """Quiet that ends a turn. `semantic_vad` has no such number: its eagerness stands for one here."""
    if turn_detection.get("type") == "semantic_vad":
        return _SEMANTIC_SILENCE_MS[str(turn_detection.get("eagerness") or "auto")]
    return _number(turn_detection, "silence_duration_ms", 500)


def _number(settings: dict[str, object], name: str, default: int) -> int:
    value = settings.get(name)
    return value if isinstance(value, int) else default

"""What a caller hears: Twilio's playback buffer. Pure; every method is told the time, in monotonic seconds.

Media is played in order at 1x from the moment it arrives in an empty buffer. A mark is echoed when everything sent
before it has been played, at once if nothing is left to play. `clear` drops the rest and echoes every pending mark at
once (Twilio: "WebSocket messages to Twilio"). Positions are exact to the sample of the time given, not to a timer tick.
"""

import math
from collections import deque
from dataclasses import dataclass, field

from rehearsal.audio import SAMPLE_RATE

MAX_BUFFERED_S = 600.0
"""Twilio discards what is sent beyond ten minutes of buffered audio (warning 31931)."""


@dataclass(frozen=True)
class Segment:
    """Audio without a pause: when its first sample sounded (or would have), and its bytes."""

    start_s: float
    audio: bytes

    @property
    def end_s(self) -> float:
        """When its last sample has sounded."""
        return self.start_s + len(self.audio) / SAMPLE_RATE


@dataclass
class _Run:
    """Media played without a pause in between, as it grows."""

    start_s: float
    audio: bytearray = field(default_factory=bytearray)

    @property
    def end_s(self) -> float:
        return self.start_s + len(self.audio) / SAMPLE_RATE

    def played(self, now: float) -> int:
        """Whole samples that have sounded; an instant that a sample ends counts it, whatever the floats say."""
        return max(0, min(len(self.audio), math.floor((now - self.start_s) * SAMPLE_RATE + 1e-3)))


class Playback:
    """One media stream's buffer, from its first byte to its last."""

    def __init__(self) -> None:
        self.discarded: list[Segment] = []
        """What `clear` dropped: when it would have sounded, and the bytes."""
        self._runs: list[_Run] = []
        self._marks: deque[tuple[float, str]] = deque()

    def append(self, audio: bytes, now: float) -> bool:
        """Buffer media that arrived `now`. False, and nothing kept, when ten minutes are waiting already."""
        if self.buffered_s(now) + len(audio) / SAMPLE_RATE > MAX_BUFFERED_S:
            return False
        if audio and (not self._runs or self._runs[-1].end_s < now):
            self._runs.append(_Run(now))
        if audio:
            self._runs[-1].audio += audio
        return True

    def mark(self, name: str, now: float) -> None:
        """Remember a mark that arrived `now`; `due` gives it back in its time."""
        self._marks.append((now + self.buffered_s(now), name))

    def clear(self, now: float) -> list[str]:
        """Drop what has not sounded by `now`; returns the names of all pending marks, to be echoed at once."""
        if self._runs:
            run = self._runs[-1]
            played = run.played(now)
            if rest := bytes(run.audio[played:]):
                self.discarded.append(Segment(run.start_s + played / SAMPLE_RATE, rest))
            del run.audio[played:]
        pending = [name for _due_s, name in self._marks]
        self._marks.clear()
        return pending

    def due(self, now: float) -> list[str]:
        """Marks whose time has come, oldest first; each is given once."""
        names = []
        while self._marks and self._marks[0][0] <= now:
            names.append(self._marks.popleft()[1])
        return names

    def next_due(self) -> float | None:
        """When the next mark is to be echoed."""
        return self._marks[0][0] if self._marks else None

    @property
    def pending_marks(self) -> list[str]:
        """Marks not echoed yet."""
        return [name for _due_s, name in self._marks]

    def buffered_s(self, now: float) -> float:
        """Seconds that have not sounded yet."""
        return max(0.0, self._runs[-1].end_s - now) if self._runs else 0.0

    def sounds_until(self) -> float | None:
        """When the newest media's last sample sounds, or has; None before there was any."""
        return self._runs[-1].end_s if self._runs else None

    def heard_ms(self, now: float) -> float:
        """Milliseconds of audio, pauses not counted, that have sounded by `now`."""
        return sum(run.played(now) for run in self._runs) * 1000 / SAMPLE_RATE

    def heard(self, now: float) -> list[Segment]:
        """What has sounded by `now`, and when."""
        segments = (Segment(run.start_s, bytes(run.audio[: run.played(now)])) for run in self._runs)
        return [segment for segment in segments if segment.audio]

    def stop(self, now: float) -> None:
        """The stream is over: what has not sounded by `now` never will, and no pending mark is echoed."""
        self.clear(now)

"""Which of the bot's lines sounded at the caller's ear, when, and how far: told from the audio that really came.

Pure. The audio of every line that the model may have said is known; what arrives is compared with it, byte by byte, so
a line that was cut off, left out or said twice, audio from before a `clear`, and noise are all told apart. Playback is
Twilio's: in order, at 1x, from the moment it arrives in an empty buffer. Times are monotonic seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from rehearsal.audio import SAMPLE_RATE

EXACT_S = 0.001
"""Two ways of adding up the same samples differ by less."""

Cut = Literal["", "cleared", "stream over"]


class Line(Protocol):
    """Something that the model said."""

    @property
    def audio(self) -> bytes:
        """The whole of it, mu-law."""


@dataclass
class Sound:
    """A line on its way to the ear; `pieces` are (start, seconds), as they will sound unless they are cut."""

    line: Line
    received: bytearray = field(default_factory=bytearray)
    pieces: list[tuple[float, float]] = field(default_factory=list)
    cut: Cut = ""

    @property
    def began_at(self) -> float:
        """When its first sound is heard; asked only of a line that sounded."""
        return self.pieces[0][0]

    @property
    def ends_at(self) -> float:
        """When the last of what has come so far is heard."""
        start, seconds = self.pieces[-1]
        return start + seconds

    @property
    def complete(self) -> bool:
        """Whether all of it has come and none of it was cut."""
        return not self.cut and len(self.received) >= len(self.line.audio)

    @property
    def sounded(self) -> bool:
        """Whether any of it is heard at all."""
        return bool(self.pieces)

    def heard_ms(self, now: float) -> float:
        """How much of it has been heard by `now`."""
        return sum(max(0.0, min(seconds, now - start)) for start, seconds in self.pieces) * 1000

    def stop(self, at: float, why: Cut) -> None:
        """Nothing of it is heard after `at`."""
        self.cut = why
        self.pieces = [(start, min(seconds, at - start)) for start, seconds in self.pieces if start < at]


class Hearing:
    """A call's audio as the caller hears it, stream after stream.

    `lines` grows as the model speaks; it is read, never changed.
    """

    def __init__(self, lines: Sequence[Line]) -> None:
        self.sounds: list[Sound] = []
        self.late_bytes = 0
        """Audio of a line that came although a `clear` had cut that line."""
        self.strange_bytes = 0
        """Audio that no line has."""
        self._lines = lines
        self._buffered_until = 0.0

    def media(self, at: float, audio: bytes) -> None:
        """Audio has arrived."""
        sound = self._continued(audio) or self._begun(b"", audio) or self._mistaken(audio)
        if sound is None:
            self._count_foreign(audio)
        else:
            sound.received += audio
        start = max(at, self._buffered_until)
        self._buffered_until = start + len(audio) / SAMPLE_RATE
        if sound is not None:
            sound.pieces.append((start, len(audio) / SAMPLE_RATE))

    def clear(self, at: float) -> None:
        """The buffer was cleared."""
        self._stop(at, "cleared")

    def over(self, at: float) -> None:
        """A stream is over: what has not sounded by `at` never will."""
        self._stop(at, "stream over")

    def _stop(self, at: float, why: Cut) -> None:
        for sound in self.sounds:
            if not sound.cut and (sound.ends_at > at + EXACT_S or not sound.complete):
                sound.stop(at, why)
        self._buffered_until = min(self._buffered_until, at)

    def _continued(self, audio: bytes) -> Sound | None:
        """The newest line, if this is its next audio."""
        newest = self.sounds[-1] if self.sounds else None
        if newest is None or newest.cut:
            return None
        return newest if newest.line.audio.startswith(audio, len(newest.received)) else None

    def _begun(self, before: bytes, audio: bytes) -> Sound | None:
        """A line that has not sounded yet, if it begins like this; noted as begun."""
        begun = {id(sound.line) for sound in self.sounds}
        for line in self._lines:
            if id(line) not in begun and line.audio.startswith(before + audio):
                self.sounds.append(Sound(line))
                return self.sounds[-1]
        return None

    def _mistaken(self, audio: bytes) -> Sound | None:
        """The newest line turns out to be another one that begins with the same sounds."""
        newest = self.sounds[-1] if self.sounds else None
        if newest is None or newest.cut or newest.complete:
            return None
        other = self._begun(bytes(newest.received), audio)
        if other is not None:
            self.sounds.remove(newest)
            other.received, other.pieces = newest.received, newest.pieces
        return other

    def _count_foreign(self, audio: bytes) -> None:
        if any(sound.cut and audio in sound.line.audio for sound in self.sounds):
            self.late_bytes += len(audio)
        else:
            self.strange_bytes += len(audio)

"""Twilio's playback buffer, counted in bytes of mu-law (8 = 1 ms). Pure; every method is told the time in seconds.

Audio is played at 1x, in order, from the moment it arrives in an empty buffer; a mark is due when all before it has
been played; `clear` drops the rest (Twilio Media Streams, "WebSocket messages to Twilio").
"""

from collections import deque
from dataclasses import dataclass, field

BYTES_PER_S = 8000


@dataclass(slots=True)
class Playback:
    """What one caller hears of which response."""

    end_s: float = 0.0
    """When the last byte has been played."""
    _pieces: deque[tuple[float, int, int]] = field(default_factory=deque)
    """(start, response, bytes) not wholly played yet."""
    _heard: dict[int, float] = field(default_factory=dict)

    def append(self, now: float, response: int, length: int) -> None:
        self._settle(now)
        start = max(self.end_s, now)
        self._pieces.append((start, response, length))
        self.end_s = start + length / BYTES_PER_S

    def mark_due(self, now: float) -> float:
        """When a mark that arrives now is to be echoed."""
        return max(self.end_s, now)

    def heard(self, now: float, response: int) -> float:
        """Bytes of `response` that have sounded by `now`."""
        playing = sum(_played(now, piece) for piece in self._pieces if piece[1] == response)
        return self._heard.get(response, 0) + playing

    def clear(self, now: float) -> float:
        """Drop what has not sounded; return how many bytes that were."""
        dropped = max(0.0, (self.end_s - now) * BYTES_PER_S)
        for piece in self._pieces:
            self._heard[piece[1]] = self._heard.get(piece[1], 0) + _played(now, piece)
        self._pieces.clear()
        self.end_s = now
        return dropped

    def _settle(self, now: float) -> None:
        while self._pieces and self._pieces[0][0] + self._pieces[0][2] / BYTES_PER_S <= now:
            _, response, length = self._pieces.popleft()
            self._heard[response] = self._heard.get(response, 0) + length


def _played(now: float, piece: tuple[float, int, int]) -> float:
    start, _, length = piece
    return min(float(length), max(0.0, (now - start) * BYTES_PER_S))

"""What the caller has really heard: a position in audio that Twilio buffers and plays without telling where it is.

Twilio plays at 1x what it is sent and echoes a mark when everything before it has been played. `clear` drops the
rest and echoes *all* pending marks at once, so an echo counts only if it belongs to the current generation
(Twilio Media Streams, "mark" and "clear" messages).

    heard = acknowledged + (now - anchor), never more than was sent
    anchor = the later of the last acknowledgement and the first send into an empty buffer

With a one-way network delay d this is never above the truth and at most 2 d below it: an acknowledgement is d old
when it arrives, and a `clear` sent now takes effect d later.

Positions are mu-law bytes at 8 kHz (8 bytes = 1 ms) since the generation began; times are monotonic seconds.
"""

from collections import deque
from dataclasses import dataclass, field

BYTES_PER_MS = 8
BYTES_PER_S = 8000

FIRST_MARK_MS = 200
"""An item's first mark: early, so that a reply that is cut soon has an acknowledgement to count from."""

MARK_EVERY_MS = 400
"""Later marks: a mark for every delta can be audible as a delay for some callers."""

MARK_PATIENCE_S = 2.0
"""How long after its computed end audio counts as played although its last mark never came."""

CAUTION_MS = 10
"""Taken off the heard position before the model is told: timers are not exact, and "never above" is the promise."""


@dataclass(frozen=True, slots=True)
class Interruption:
    """What an interruption does to the audio that was on its way to the caller."""

    clear: bool
    """Something may still be unplayed: Twilio's buffer must be cleared."""
    truncate: tuple[str, int] | None
    """(item_id, heard ms) of the item that was being heard."""
    delete: tuple[str, ...]
    """Items of which nothing was heard."""


NOTHING_PLAYED = Interruption(clear=False, truncate=None, delete=())


@dataclass(slots=True)
class _Item:
    """One message item's stretch of the audio that was sent."""

    item_id: str
    start: int
    end: int
    marked: int
    """Position of its last mark, or its start."""
    complete: bool = False


@dataclass(slots=True)
class Playhead:
    """The position up to which the caller has heard the bot."""

    generation: int = 0
    sent: int = 0
    acknowledged: int = 0
    _anchor: float = 0.0
    _marks: deque[tuple[str, int]] = field(default_factory=deque)
    _mark_count: int = 0
    _items: list[_Item] = field(default_factory=list)

    def send(self, at: float, item_id: str, length: int) -> str | None:
        """Count `length` bytes of `item_id` as sent at `at`; return the name of a mark to send after them, if due."""
        if self.heard(at) >= self.sent:  # the buffer is empty: counting starts anew, from here
            self.acknowledged, self._anchor = self.sent, at
        item = self._item(item_id)
        self.sent += length
        item.end = self.sent
        due_ms = FIRST_MARK_MS if item.marked == item.start else MARK_EVERY_MS
        return self._mark(item) if item.end - item.marked >= due_ms * BYTES_PER_MS else None

    def complete(self) -> str | None:
        """Note that the newest item has no more audio; return the name of its last mark, if one is still needed."""
        item = self._items[-1] if self._items else None
        if item is None or item.complete:
            return None
        item.complete = True
        return self._mark(item) if item.end > item.marked else None

    def acknowledge(self, at: float, name: str) -> bool:
        """Take an echoed mark; return whether it counts. One from before a `clear` does not: it was never played."""
        if all(name != known for known, _ in self._marks):
            return False
        while True:
            known, position = self._marks.popleft()
            if known == name:
                break
        self.acknowledged, self._anchor = max(self.acknowledged, position), at
        self._items = [item for item in self._items if not (item.complete and item.end <= self.acknowledged)]
        return True

    def heard(self, at: float) -> int:
        """Bytes of this generation that the caller has heard at `at`."""
        return min(self.sent, self.acknowledged + max(0, int((at - self._anchor) * BYTES_PER_S)))

    @property
    def item_ids(self) -> frozenset[str]:
        """The items that are still being heard, or wait for it."""
        return frozenset(item.item_id for item in self._items)

    @property
    def hearing(self) -> str:
        """The item that the next mark to come back is about."""
        return next((item.item_id for item in self._items if item.end > self.acknowledged), "")

    @property
    def quiet(self) -> bool:
        """Whether everything that was sent is known to have been played."""
        return self.acknowledged >= self.sent

    def quiet_by(self, at: float) -> bool:
        """Whether everything has been played, also when the mark that would say so never came."""
        played_at = self._anchor + (self.sent - self.acknowledged) / BYTES_PER_S
        return self.quiet or at - played_at >= MARK_PATIENCE_S

    def share_heard(self, at: float) -> float:
        """Return how much of the newest item has been heard, 0..1; 1 when nothing is under way."""
        if not self._items:
            return 1.0
        newest = self._items[-1]
        return min(1.0, max(0.0, (self.heard(at) - newest.start) / max(1, newest.end - newest.start)))

    def interrupt(self, at: float, response_active: bool) -> Interruption:
        """Begin a new generation and say what of the old one was heard.

        `response_active`: the model may still be adding audio to the newest item, so that even an item heard to the
        end of what was sent must be truncated there.
        """
        heard = max(0, self.heard(at) - CAUTION_MS * BYTES_PER_MS)
        cut = [item for item in self._items if not self._was_heard(item, at, response_active)]
        being_heard = next((item for item in cut if (heard - item.start) >= BYTES_PER_MS), None)
        truncate = None
        if being_heard is not None:
            truncate = (being_heard.item_id, (min(heard, being_heard.end) - being_heard.start) // BYTES_PER_MS)
        result = Interruption(
            clear=not self.quiet,
            truncate=truncate,
            delete=tuple(item.item_id for item in cut if item is not being_heard),
        )
        self._restart()
        return result

    def _was_heard(self, item: _Item, at: float, response_active: bool) -> bool:
        """Whether the caller has heard the whole of `item`, so that the model's memory of it is right as it is."""
        finished = item.complete or not response_active
        return finished and item.end <= self.heard(at)

    def _item(self, item_id: str) -> _Item:
        """Return the item that audio is being sent for: the newest, or a new one."""
        if not self._items or self._items[-1].item_id != item_id:
            if self._items:
                self._items[-1].complete = True  # a model speaks one item at a time
            self._items.append(_Item(item_id, start=self.sent, end=self.sent, marked=self.sent))
        return self._items[-1]

    def _mark(self, item: _Item) -> str:
        item.marked = item.end
        self._mark_count += 1
        name = f"g{self.generation}:{self._mark_count}"
        self._marks.append((name, item.end))
        return name

    def _restart(self) -> None:
        self.generation += 1
        self.sent = self.acknowledged = 0
        self._anchor = 0.0
        self._marks.clear()
        self._items.clear()

"""Keys that the caller presses, put together into one entry, and what such an entry says to a question.

`#` ends an entry and `*` clears it; a pause ends it too, for not everybody knows the `#`. Where one key says it all, it
ends the entry at once. 1 is yes and 2 is no; a choice is made by its place; a date is DDMMYYYY and a time HHMM.
"""

from dataclasses import dataclass
from typing import Final

from kav.call.flow import Step

KEY_PAUSE_S: Final = 3.0
"""Without a key for so long, an entry is complete: people look from the keys to the paper and back."""

MAX_KEYS: Final = 40
"""Keys of one entry that are kept; no number that a caller knows is longer."""

YES_NO: Final = {"1": "yes", "2": "no"}

DIGITS_OF: Final = {"yes_no": 1, "time": 4, "date": 8}
"""How many digits say it all, by the kind of answer."""


@dataclass(slots=True)
class Keypad:
    """The entry that the caller is keying."""

    _digits: str = ""
    _last_at: float | None = None

    @property
    def pending(self) -> bool:
        """Whether an entry was begun and is not complete."""
        return self._last_at is not None

    def press(self, at: float, key: str, wanted: int) -> str | None:
        """Take a key (0-9, * or #); return the entry if that completes it. `wanted`: digits that do, 0 for any number.

        A `#` without an entry means nothing, and so does a key that no telephone has.
        """
        if key == "#":
            return self._take() if self._digits else None
        if key == "*":
            self._digits, self._last_at = "", at if self.pending else None
        elif key in "0123456789":
            self._digits, self._last_at = (self._digits + key)[:MAX_KEYS], at
        return self._take() if wanted and len(self._digits) == wanted else None

    def tick(self, at: float) -> str | None:
        """Return the entry that a pause has completed; it is empty where the caller cleared it and went no further."""
        ended = self._last_at is not None and at - self._last_at >= KEY_PAUSE_S
        return self._take() if ended else None

    def _take(self) -> str:
        digits, self._digits, self._last_at = self._digits, "", None
        return digits


def takes_digits(step: Step) -> bool:
    """Whether a step's value is keyed digit by digit."""
    return step.kind in ("text", "number", "phone", "date", "time")


def keys_wanted(step: Step) -> int:
    """Return how many digits answer a step's question, 0 where any number may."""
    if step.kind == "choice":
        return 1 if len(step.choices) <= 9 else 0
    return DIGITS_OF.get(step.kind, 0)


def by_keys(step: Step, digits: str) -> str | None:
    """Return what an entry says to a step's question, in the form of its kind; None where it can say nothing."""
    if step.kind == "yes_no":
        return YES_NO.get(digits)
    if step.kind == "choice":
        place = int(digits) if digits else 0
        return step.choices[place - 1] if 0 < place <= len(step.choices) else None
    if step.kind == "date":
        return f"{digits[4:]}-{digits[2:4]}-{digits[:2]}"
    if step.kind == "time":
        return f"{digits[:-2]:0>2}:{digits[-2:]}"
    return None if step.kind in ("name", "address") else digits

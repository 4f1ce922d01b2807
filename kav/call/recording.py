"""What callers are told of a recording: until they have heard it, the bot says it before what it says next.

The greeting begins with it. But whoever talks over the greeting has not been told, and is recorded all the same. So it
is a phrase of its own, asked for as any other, and behind it comes what the script says.
"""

from collections.abc import Sequence
from typing import Final

from kav.call.audit import plain
from kav.call.chronicle import Turn
from kav.call.flow import Texts

RECORDING: Final = "recording"
"""Id of the phrase."""

TOLD_AT_MOST: Final = 3
"""Times that the phrase is begun: who talks over it again and again hears it from Twilio's voice, at the end."""


def is_due(announcement: Texts, turns: Sequence[Turn]) -> bool:
    """Whether the caller is still to be told."""
    if not announcement or was_told(announcement, turns):
        return False
    return sum(turn.phrase == RECORDING for turn in turns) < TOLD_AT_MOST


def was_told(announcement: Texts, turns: Sequence[Turn]) -> bool:
    """Whether the caller has heard, for certain, that the call is recorded."""
    return any(heard_whole(turn, announcement) for turn in turns)


def heard_whole(turn: Turn, sentences: Texts) -> bool:
    """Whether one of these sentences begins what the bot said, and a mark says that the caller heard it to its end.

    What was merely sent, or said in other words, does not count, unless it was said in a language that has none of
    these sentences: whoever must be told is told once more.
    """
    if turn.who != "bot" or not turn.marks or not turn.audio_ms:
        return False
    said = plain(turn.text)
    length = max((len(sentence) for sentence in map(plain, sentences.values()) if said.startswith(sentence)), default=0)
    if turn.phrase == RECORDING and turn.language not in sentences:
        length = len(said)
    heard_ms = turn.marks[-1] - turn.at_ms
    if turn.heard_ms is not None:
        heard_ms = min(heard_ms, turn.heard_ms)
    return length > 0 and heard_ms * len(said) >= length * turn.audio_ms

"""What callers are told of a recording: until they have heard it, whatever the bot says begins with it.

The greeting begins with it too. But whoever talks over the greeting has not been told, and is recorded all the same.
"""

from collections.abc import Sequence
from typing import Final

from kav.call.audit import plain
from kav.call.chronicle import Turn
from kav.call.flow import Texts

TRIED_AT_MOST: Final = 6
"""Of all that is said: a model that never gets it right is not to say it all day; Twilio's voice says it last."""


def to_tell(announcement: Texts, turns: Sequence[Turn], language: str) -> str:
    """Return what is still to be told of the recording, in `language`; nothing where it was, or has no such words."""
    told = announcement.get(language, "")
    if not told or sum(turn.who == "bot" for turn in turns) > TRIED_AT_MOST or was_told(announcement, turns):
        return ""
    return told


def was_told(announcement: Texts, turns: Sequence[Turn]) -> bool:
    """Whether the caller has heard, for certain, that the call is recorded."""
    return any(heard_whole(turn, announcement) for turn in turns)


def heard_whole(turn: Turn, sentences: Texts) -> bool:
    """Whether one of these sentences begins what the bot said, and a mark says that the caller heard it to its end.

    What was merely sent, or said in other words, does not count: whoever must be told is told once more.
    """
    if turn.who != "bot" or not turn.marks or not turn.audio_ms:
        return False
    said = plain(turn.text)
    length = max((len(sentence) for sentence in map(plain, sentences.values()) if said.startswith(sentence)), default=0)
    heard_ms = turn.marks[-1] - turn.at_ms
    if turn.heard_ms is not None:
        heard_ms = min(heard_ms, turn.heard_ms)
    return length > 0 and heard_ms * len(said) >= length * turn.audio_ms

"""Which language the call is in: the caller's, at once, for the rest of the call, and never on the word of a brand.

The evidence is what the judge says of the caller's turn, checked against the script of its transcript when that comes.
A loanword, a name, a brand or digits are no evidence: a turn speaks a language when most of its words do.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

SCRIPTS: Final = {
    "he": "HEBREW", "yi": "HEBREW",
    "ar": "ARABIC", "fa": "ARABIC", "ur": "ARABIC",
    "ru": "CYRILLIC", "uk": "CYRILLIC", "bg": "CYRILLIC",
    "am": "ETHIOPIC", "ti": "ETHIOPIC",
    "hi": "DEVANAGARI", "th": "THAI", "el": "GREEK", "ka": "GEORGIAN", "zh": "CJK", "ja": "CJK",
}  # fmt: skip
"""Script by language; every other language is taken for one in Latin letters."""

SHORTEST_EVIDENCE: Final = 2
"""Words that a switch takes: "OK" and "Mazda" are said in every language."""


def script_of(language: str) -> str:
    """Return the script that a language is written in."""
    return SCRIPTS.get(language, "LATIN")


def words_by_script(text: str) -> Counter[str]:
    """Count the words of `text` by the script of their first letter; digits and signs are no words."""
    letters = (next((character for character in word if character.isalpha()), "") for word in text.split())
    return Counter(unicodedata.name(letter, "UNKNOWN").split()[0] for letter in letters if letter)


def supports(transcript: str, language: str) -> bool:
    """Whether a turn's transcript speaks for `language`: most words, and enough of them, are in its script."""
    words = words_by_script(transcript)
    own = words[script_of(language)]
    return own >= SHORTEST_EVIDENCE and own * 2 > words.total()


def contradicts(transcript: str, language: str) -> bool:
    """Whether what was said, in words enough to tell, is not in the script of `language`."""
    words = words_by_script(transcript)
    return words.total() >= SHORTEST_EVIDENCE and words[script_of(language)] * 2 < words.total()


@dataclass(slots=True)
class LanguageLock:
    """The call's language; `current` is an ISO 639-1 code."""

    current: str
    _before: str | None = None
    """What a switch that is still to be checked replaced."""

    def turn(self) -> None:
        """The caller said something new: its words are no check on an earlier switch."""
        self._before = None

    def judged(self, language: object) -> bool:
        """Take the judge's word for the caller's turn; return whether the call's language changes."""
        code = language.strip().lower()[:2] if isinstance(language, str) else ""
        if len(code) < 2 or not code.isalpha() or code == self.current:
            return False
        self._before, self.current = self.current, code
        return True

    def follow(self, transcript: str, known: Iterable[str]) -> None:
        """Follow what was said where nobody judges: the first of the `known` languages that it is written like."""
        if not contradicts(transcript, self.current):
            return
        self.current = next((language for language in known if supports(transcript, language)), self.current)

    def transcribed(self, transcript: str) -> bool:
        """Check the last switch against what was said; return whether it is taken back."""
        if self._before is None:
            return False
        before, self._before = self._before, None
        if script_of(before) == script_of(self.current) or supports(transcript, self.current):
            return False
        self.current = before
        return True

"""Which language the call is in: the caller's, at once, for the rest of the call, and never on the word of a brand.

The evidence is what the judge says of the caller's turn, checked against the script of its transcript when that comes.
A loanword, a name, a brand or digits are no evidence: a turn speaks a language when most of its words do. In Latin
letters that takes more than one, for those are borrowed everywhere, unless the word is the language's own name.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

SCRIPTS: Final = {
    **dict.fromkeys(("he", "yi"), "HEBREW"),
    **dict.fromkeys(("ar", "fa", "ur", "ps", "sd", "ug"), "ARABIC"),
    **dict.fromkeys(("ru", "uk", "bg", "be", "mk", "kk", "ky", "mn", "tg", "tt"), "CYRILLIC"),
    **dict.fromkeys(("am", "ti"), "ETHIOPIC"),
    **dict.fromkeys(("hi", "mr", "ne", "sa"), "DEVANAGARI"),
    **dict.fromkeys(("bn", "as"), "BENGALI"),
    **dict.fromkeys(("zh", "ja"), "CJK"),
    "bo": "TIBETAN", "el": "GREEK", "gu": "GUJARATI", "hy": "ARMENIAN", "ka": "GEORGIAN", "km": "KHMER",
    "kn": "KANNADA", "ko": "HANGUL", "lo": "LAO", "ml": "MALAYALAM", "my": "MYANMAR", "or": "ORIYA", "pa": "GURMUKHI",
    "si": "SINHALA", "ta": "TAMIL", "te": "TELUGU", "th": "THAI",
}  # fmt: skip
"""Script by language; every other language is taken for one in Latin letters."""

KANA: Final = ("HIRAGANA", "KATAKANA")
"""Written among the characters that the others of CJK have alone."""

CODES: Final = frozenset(
    """
    aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee
    el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is
    it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms
    mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk
    sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi
    yo za zh zu
    """.split()  # noqa: SIM905 - a list of a hundred quoted strings cannot be read
)
"""Every language that has two letters (ISO 639-1)."""

LONG_CODES: Final = frozenset(
    """
    aar abk afr aka amh ara asm ava aym aze bak bel bis bod bre cat cha cos cre cym dan deu dzo ell eng eus fas
    fin fra fre glg guj hau heb hin hrv hun hye iii isl ita kat kik kor kur lat lim lub mkd msa mya nau nde nep
    nld nno nor nya oci oji ori oss pan que ron rus san sin slv smo sna som sqi srp ssw sun swa tam tel tgk tha
    tir ton tso twi ukr urd uzb ven vie vol wol xho yid yor zho zul
    """.split()  # noqa: SIM905 - a list of a hundred quoted strings cannot be read
)
"""Three letters (ISO 639-2) of which the first two are the language's own; `est` is not Spanish."""

RENAMED: Final = {"iw": "he", "in": "id", "ji": "yi"}
"""Two letters that ISO 639-1 gave up in 1989, and that are still about."""

NAMES: Final = {
    "en": "english", "fr": "francais", "es": "espanol", "de": "deutsch", "it": "italiano", "pt": "portugues",
}  # fmt: skip
"""What languages in Latin letters call themselves, without case and accents: who says it asks for it."""

SHORTEST_EVIDENCE: Final = 2
"""Words in Latin letters that a switch takes: "OK" and "Mazda" are said in every language, "Русский?" in one."""

UNJUDGED_EVIDENCE: Final = 3
"""As many where nobody judges: transcribers write "Thank you." for noise."""


def script_of(language: str) -> str:
    """Return the script that a language is written in."""
    return SCRIPTS.get(language, "LATIN")


def words_by_script(text: str) -> Counter[str]:
    """Count the words of `text` by the script of their first letter; digits and signs are no words."""
    letters = (next((character for character in word if character.isalpha()), "") for word in text.split())
    scripts = (unicodedata.name(letter, "UNKNOWN").split()[0] for letter in letters if letter)
    return Counter("CJK" if script in KANA else script for script in scripts)


def code_of(said: object) -> str | None:
    """Return the ISO 639-1 code that is meant by `en`, `en-US`, `eng` or the old `iw`; None for anything else."""
    if not isinstance(said, str):
        return None
    code = re.split("[-_]", said.strip().lower())[0]
    code = code[:2] if code in LONG_CODES else RENAMED.get(code, code)
    return code if code in CODES else None


def supports(transcript: str, language: str, latin_words: int = SHORTEST_EVIDENCE) -> bool:
    """Whether a turn's transcript speaks for `language`: most words, and enough of them, are in its script.

    `latin_words`: how many are enough in Latin letters, if none of them is the language's own name.
    """
    words = words_by_script(transcript)
    script = script_of(language)
    enough = 1 if script != "LATIN" or _names(transcript, language) else latin_words
    return words[script] >= enough and words[script] * 2 > words.total()


def _names(transcript: str, language: str) -> bool:
    """Whether a language is called by its own name."""
    return NAMES.get(language) in {_letters(word) for word in transcript.split()}


def _letters(word: str) -> str:
    """Return a word's letters without case and accents."""
    return "".join(character for character in unicodedata.normalize("NFKD", word).casefold() if character.isalpha())


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
        code = code_of(language)
        if code is None or code == self.current:
            return False
        self._before, self.current = self.current, code
        return True

    def follow(self, transcript: str, known: Iterable[str]) -> None:
        """Follow what was said where nobody judges: the first of the `known` languages that it is written like."""
        if not contradicts(transcript, self.current):
            return
        spoken = (language for language in known if supports(transcript, language, UNJUDGED_EVIDENCE))
        self.current = next(spoken, self.current)

    def transcribed(self, transcript: str) -> bool:
        """Check the last switch against what was said; return whether it is taken back."""
        if self._before is None:
            return False
        before, self._before = self._before, None
        if script_of(before) == script_of(self.current) or supports(transcript, self.current):
            return False
        self.current = before
        return True

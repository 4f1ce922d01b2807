"""Real speech for a rehearsal: espeak-ng through ctypes, as mu-law 8 kHz, cached in memory and on disk.

    speak("Hello, can you hear me?", "en")
    speak("מה השעה", "he")                          # pointed by lexicon.he.yaml when the sentence stands there
    speak("מה השעה?", "he", pointed="מָה הַשָּׁעָה?")

Hebrew is written without vowels, and espeak's own reading of vowel points falls back to spelling the letters aloud in
most words (espeak-ng issue 1143). So pointed Hebrew is turned into espeak's phonemes here; unpointed words that
the lexicon does not know are left to espeak's guesses. espeak-ng is GPL: a development dependency only.
"""

import ctypes
import hashlib
import os
import re
import tempfile
import unicodedata
from array import array
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import espeakng_loader
import yaml

from rehearsal.audio import encode_ulaw, to_phone_rate, trimmed, with_loudness

VOICES = {"he": "he", "ar": "ar", "ru": "ru", "en": "en-us", "en-us": "en-us"}
LOUDNESS = 4000.0
"""RMS while speaking, 16-bit units: 18 dB under full scale, a telephone voice, which any VAD takes for speech."""

_RECIPE = "3"  # part of the cache key: raise it when the same line would sound different
_QUIET = 200  # of 32767: what lies under it at a line's ends is no speech
_LEXICON = Path(__file__).with_name("lexicon.he.yaml")
_LONGEST_DATA_PATH = 130  # espeak-ng keeps paths in 160-byte buffers and appends file names

# espeak-ng's speak_lib.h
_SYNCHRONOUS, _DONT_EXIT = 2, 0x8000
_CHARS_UTF8, _PHONEMES, _END_PAUSE = 1, 0x100, 0x1000
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class SpeechError(Exception):
    """espeak-ng could not be started, has no such voice, or refused a text."""


def speak(text: str, language: str, pointed: str | None = None) -> bytes:
    """`text` spoken: mu-law 8 kHz, beginning and ending with sound.

    `language` is "he", "ar", "ru", "en", or another espeak voice. `pointed` is the same Hebrew with vowel points. The
    first time takes some 0.1 s a second of speech and holds the thread, so speak a scenario's lines before its call
    begins; afterwards it is a look-up.
    """
    if not language.startswith("he"):
        return _spoken(text, VOICES.get(language, language))
    return _spoken(phonemes(pointed or with_points(text)), "he")


def with_points(text: str) -> str:
    """Hebrew with vowel points as far as the lexicon knows them: the sentence, else each of its words."""
    known = lexicon()
    return known.get(plain(text)) or " ".join(known.get(plain(word), word) for word in text.split())


@lru_cache(maxsize=1)
def lexicon() -> dict[str, str]:
    """The pointed sentences of `lexicon.he.yaml`, and their words, by their plain form."""
    sentences: dict[str, str] = yaml.safe_load(_LEXICON.read_text(encoding="utf-8"))
    pairs = [
        pair for sentence, pointed in sentences.items() for pair in zip(sentence.split(), pointed.split(), strict=True)
    ]
    return {plain(text): pointed for text, pointed in [*pairs, *sentences.items()]}


def plain(text: str) -> str:
    """Hebrew without points and punctuation, single-spaced: how the lexicon knows a sentence."""
    kept = (c if c.isalnum() or c.isspace() else " " if unicodedata.category(c)[0] == "P" else "" for c in text)
    return " ".join("".join(kept).split())


# The voice


class _Espeak:
    """The process's one espeak-ng: a library with global state that knows no threads, hence one lock."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._library: ctypes.CDLL | None = None
        self._rate = 0
        self._pcm = bytearray()
        self._on_samples = _Callback(self._collect)

    def synthesise(self, text: str, voice: str) -> tuple["array[int]", int]:
        """16-bit samples and their rate in Hz."""
        flags = _CHARS_UTF8 | _PHONEMES | _END_PAUSE
        data = text.encode() + b"\0"
        with self._lock:
            library = self._library or self._start()
            self._pcm.clear()
            if library.espeak_SetVoiceByName(voice.encode()):
                raise SpeechError(
                    f"espeak-ng has no voice {voice!r}; say one of {', '.join(VOICES)}, or a code of its own"
                )
            if library.espeak_Synth(data, len(data), 0, 0, 0, flags, None, None):
                raise SpeechError(f"espeak-ng refused to say {text!r} with voice {voice!r}")
            return array("h", bytes(self._pcm)), self._rate

    def _start(self) -> ctypes.CDLL:
        library = ctypes.CDLL(espeakng_loader.get_library_path())
        data_path = _short(Path(espeakng_loader.get_data_path()))
        self._rate = library.espeak_Initialize(_SYNCHRONOUS, 0, str(data_path).encode(), _DONT_EXIT)
        if self._rate <= 0:
            raise SpeechError(f"espeak-ng found no voices at {data_path}; reinstall requirements-dev.txt")
        library.espeak_SetSynthCallback(self._on_samples)
        self._library = library
        return library

    def _collect(self, samples: Any, count: int, _events: Any) -> int:  # noqa: ANN401 - ctypes pointers
        if samples and count > 0:
            self._pcm += ctypes.string_at(samples, count * 2)
        return 0


_espeak = _Espeak()


@lru_cache(maxsize=4096)
def _spoken(text: str, voice: str) -> bytes:
    """What espeak says, from the disk if it has been said before on this machine."""
    key = hashlib.sha256("\0".join((_RECIPE, voice, text)).encode()).hexdigest()
    kept = cache_folder() / f"{key}.ulaw"
    if kept.is_file():
        return kept.read_bytes()
    samples, rate = _espeak.synthesise(text, voice)
    audio = encode_ulaw(with_loudness(to_phone_rate(trimmed(samples, _QUIET), rate), LOUDNESS))
    _keep(kept, audio)
    return audio


@lru_cache(maxsize=1)
def cache_folder() -> Path:
    """Where spoken lines are kept: below the user's cache, or below the temporary folder if there is none."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    for folder in (base / "kav-rehearsal", Path(tempfile.gettempdir()) / f"kav-rehearsal-{os.getuid()}"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    return Path(tempfile.mkdtemp(prefix="kav-rehearsal-"))


def _keep(path: Path, audio: bytes) -> None:
    """Whole or not at all, for several rehearsals may write the same line at once."""
    descriptor, unfinished = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(audio)
    Path(unfinished).replace(path)


def _short(data_path: Path) -> Path:
    """A path that fits espeak's buffers: the folder itself, or a link to it from the temporary folder."""
    if len(str(data_path).encode()) <= _LONGEST_DATA_PATH:
        return data_path
    link = Path(tempfile.mkdtemp(prefix="kav-espeak-")) / "espeak-ng-data"
    link.symlink_to(data_path)
    return link


# Pointed Hebrew to phonemes

_SHVA, _HIRIQ, _TSERE, _SEGOL, _PATAH, _HOLAM, _DAGESH = "\u05b0\u05b4\u05b5\u05b6\u05b7\u05b9\u05bc"
_SIN_DOT, _STRESS = "\u05c2\u05ab"
_VOWELS = dict(
    zip("\u05b1\u05b2\u05b3\u05b4\u05b5\u05b6\u05b7\u05b8\u05b9\u05ba\u05bb\u05c7", "eaoieeaaoouo", strict=True)
)
_CONSONANTS = dict(zip("אבגדהוזחטיכךלמםנןסעפףקרשת", "?vgdhvzXtjXXlmmnns?ffkRSt", strict=True)) | dict.fromkeys(
    "צץ", "ts"
)
_HARD = {"ב": "b", "כ": "k", "ך": "k", "פ": "p", "ף": "p"}
_FOREIGN = {"ג": "dZ", "צ": "tS", "ץ": "tS", "ז": "Z"}  # with a geresh
_WORD = re.compile('[א-ת][^\\s.,;:?!"-]*')
_LETTER = re.compile("([א-ת])([\u05ab\u05b0-\u05bd\u05bf\u05c1\u05c2\u05c7]*)(['\u05f3\u2019]?)")


@dataclass(frozen=True)
class _Letter:
    """A letter, its points, and whether a geresh makes a foreign sound of it."""

    name: str
    points: str = ""
    geresh: str = ""

    @property
    def vowel(self) -> str:
        """The vowel its points give, or ""."""
        return next((_VOWELS[point] for point in self.points if point in _VOWELS), "")

    @property
    def consonant(self) -> str:
        """Its own sound."""
        if self.geresh and self.name in _FOREIGN:
            return _FOREIGN[self.name]
        if self.name == "ש" and _SIN_DOT in self.points:
            return "s"
        return _HARD.get(self.name, _CONSONANTS[self.name]) if _DAGESH in self.points else _CONSONANTS[self.name]


def _is_pointed(text: str) -> bool:
    return any(point in text for point in (_SHVA, _DAGESH, *_VOWELS))


def phonemes(pointed: str) -> str:
    """Pointed Hebrew in espeak's notation, "[[Sal'om]]"; whatever is not Hebrew stays as it is.

    Modern Israeli pronunciation. The last syllable has the stress, but for segolates and the endings -nu and -ti;
    U+05AB (ole) on a letter says otherwise.
    """
    words = unicodedata.normalize("NFD", pointed).replace("־", " ")
    return _WORD.sub(lambda word: f"[[{_word_phonemes(word[0])}]]" if _is_pointed(word[0]) else word[0], words)


def _word_phonemes(word: str) -> str:
    """One pointed word's phonemes, with the stress mark before its vowel."""
    letters = [_Letter(*parts) for parts in _LETTER.findall(word)]
    around = zip([None, *letters], letters, [*letters[1:], None], strict=False)
    sounds = [_sounds(before, letter, after) for before, letter, after in around]
    stressed = _stressed(letters, sounds)
    return "".join(c + ("'" if n == stressed else "") + v for n, (c, v) in enumerate(sounds))


def _sounds(before: _Letter | None, letter: _Letter, after: _Letter | None) -> tuple[str, str]:
    """A letter's consonant and vowel, each possibly ""."""
    if _is_vowel_letter(before, letter):
        return "", "u" if _DAGESH in letter.points else letter.vowel
    if letter.name in "אע" and not letter.vowel:
        return "", ""
    if letter.name == "ה" and not after and not letter.points:
        return "", ""
    if letter.name in "חעה" and not after and letter.vowel == "a":  # furtive patah: its vowel comes first
        return "", "a" + letter.consonant.replace("?", "")
    if _SHVA in letter.points and not before and letter.name in "ובכלמנירת":
        return letter.consonant, "e"
    return letter.consonant if before or letter.consonant != "?" else "", letter.vowel


def _is_vowel_letter(before: _Letter | None, letter: _Letter) -> bool:
    """Whether a vav or yod is no consonant, but carries or lengthens the vowel of the letter before."""
    if letter.name == "ו":
        is_u = _DAGESH in letter.points and not letter.vowel
        return is_u if not before else (is_u or letter.vowel == "o") and not before.vowel and _SHVA not in before.points
    return before is not None and letter.name == "י" and not letter.points and _HIRIQ in before.points


def _stressed(letters: list[_Letter], sounds: list[tuple[str, str]]) -> int:
    """Which letter's vowel has the stress; -1 in a word without vowels."""
    marked = [n for n, letter in enumerate(letters) if _STRESS in letter.points]
    vowels = [n for n, (_consonant, vowel) in enumerate(sounds) if vowel]
    if marked or not vowels:
        return marked[0] if marked else -1
    if len(vowels) == 1:
        return vowels[0]
    before_last, last = vowels[-2:]
    ending = "".join(c + v for c, v in sounds[before_last + 1 :])
    early = ending.endswith(("nu", "ti")) or _is_segolate(letters[before_last], letters[last:])
    return before_last if early else last


def _is_segolate(before_last: _Letter, end: list[_Letter]) -> bool:
    """Whether a word ends like melech, boker, erev, na'ar, bayit: two soft vowels and a consonant."""
    if len(end) != 2 or end[1].vowel or end[1].name in "הא":
        return False
    soft = {point for point in end[0].points if point in (_SEGOL, _PATAH, _HIRIQ)}
    return bool(
        (_SEGOL in soft and any(point in before_last.points for point in (_SEGOL, _TSERE, _HOLAM)))
        or (_PATAH in soft and _PATAH in before_last.points and end[0].name in "החע")
        or (_HIRIQ in soft and _PATAH in before_last.points and end[0].name == "י")
    )

"""The caller's voice in front of the real model: OpenAI's text-to-speech, for ears that were not trained on espeak.

voice = Voice("sk-...", "https://api.openai.com/v1", folder)
voice.speak("מה השעה?", "he")     # mu-law 8 kHz; the second time, in any run, from the disk and free
"""

import hashlib
import os
import tempfile
from array import array
from pathlib import Path

from openai import OpenAI, OpenAIError

from rehearsal.audio import encode_ulaw, to_phone_rate, trimmed, with_loudness
from rehearsal.speech import LOUDNESS

MODEL = "gpt-4o-mini-tts"
"""Speaks all of Kav's languages and takes instructions; announced to be shut down on 2027-01-06 (openai 3.54)."""
NAME = "cedar"
"""A voice that is not the bot's, so that a recording tells the two apart."""
RATE_HZ = 24_000
"""Of `response_format: pcm`: 16-bit little-endian mono, without a header (OpenAI, text-to-speech guide)."""
ANSWER_WITHIN_S = 30.0

_RECIPE = "1"  # part of the cache key: raise it when the same line would sound different
_QUIET = 200  # of 32767: what lies under it at a line's ends is no speech
_NAMES = {"he": "Hebrew", "en": "English", "ar": "Arabic", "ru": "Russian"}


class VoiceError(Exception):
    """A line could not be spoken; the message says which, why, and what to do."""


class Voice:
    """Speaks lines, each of them paid for once on this machine."""

    def __init__(self, api_key: str, base_url: str, folder: Path, *, model: str = MODEL) -> None:
        self._client = OpenAI(api_key=api_key, base_url=base_url, timeout=ANSWER_WITHIN_S)
        self._base_url, self._model, self._folder = base_url, model, folder
        self._spoken: dict[tuple[str, str], bytes] = {}

    def speak(self, text: str, language: str) -> bytes:
        """`text` as it arrives on a telephone, mu-law 8 kHz. Raises VoiceError."""
        line = (text, language)
        if line not in self._spoken:
            kept = self._kept(*line)
            if not kept.is_file():
                _keep(kept, phone_audio(self._ask(text, language)))
            self._spoken[line] = kept.read_bytes()
        return self._spoken[line]

    def _kept(self, text: str, language: str) -> Path:
        """Where it is kept: who serves it is part of the name, for a stand-in's voice is not OpenAI's."""
        key = hashlib.sha256("\0".join((_RECIPE, self._base_url, self._model, NAME, language, text)).encode())
        return self._folder / f"{key.hexdigest()}.ulaw"

    def _ask(self, text: str, language: str) -> bytes:
        try:
            return self._client.audio.speech.create(
                model=self._model,
                voice=NAME,
                input=text,
                instructions=f"Speak {_NAMES.get(language, language)}, calmly, as a customer on the telephone.",
                response_format="pcm",
            ).content
        except OpenAIError as error:
            raise VoiceError(
                f"{self._model} at {self._base_url} did not speak {text!r}: {error}; check OPENAI_API_KEY and "
                "OPENAI_BASE_URL, or choose another model with --speech-model"
            ) from error


def phone_audio(pcm: bytes) -> bytes:
    """16-bit samples at 24 kHz as a telephone carries them; empty stays empty."""
    samples = array("h", pcm[: len(pcm) // 2 * 2])
    return encode_ulaw(with_loudness(to_phone_rate(trimmed(samples, _QUIET), RATE_HZ), LOUDNESS))


def _keep(path: Path, audio: bytes) -> None:
    """Whole or not at all: two rehearsals may write the same line. Raises VoiceError where there was no sound."""
    if not audio:
        raise VoiceError("the text-to-speech service sent silence for a line; ask again")
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(audio)
    Path(unfinished).replace(path)

"""Words for the model: its instructions, its tools, and Kav's fixed phrases by id and language.

The instructions are one constant prefix for the whole call; what changes travels as appended items. Texts are data:
the phrases live in `kav/phrases/<language>.yaml`, a file per language.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from kav.settings import Settings

DEFAULT_LANGUAGE: Final = "he"
PHRASES_FOLDER: Final = Path(__file__).parent / "kav" / "phrases"
PHRASE_IDS: Final = (
    "greeting",
    "resumed",
    "limit_notice",
    "apology",
    "resume",
    "still_there",
    "what_else",
    "what_else_no_transfer",
    "goodbye",
    "transfer",
    "nobody_answers",
    "take_message",
    "not_understood",
    "busy",
    "do_not_call",
)

INSTRUCTIONS: Final = """\
# Who you are
You are the digital representative of a business, on the telephone. If you are asked, say that you are a digital
representative, not a person.

# How you speak
Hebrew, unless the caller speaks another language: then that language, from your next sentence on, unmixed.
Short, clear and human: one or two sentences, then let the caller speak. Say numbers, dates and hours as one says them
on the telephone. Never read out symbols, lists or links.

# The supreme rule
Before every reply ask yourself: did the caller ask a question? If so, answer it first, briefly. If you do not know,
say so. Never say that something was done, ordered or booked unless a tool has confirmed it.

# Fixed sentences
A system message may give you a sentence between « and ». Say exactly that sentence, word for word, and nothing else.
"""

TOOLS: Final[tuple[dict[str, Any], ...]] = (
    {
        "type": "function",
        "name": "current_time",
        "description": "Today's date, the day of the week and the time of day at the business.",
        "parameters": {"type": "object", "properties": {}, "additionalProperties": False},
    },
)


class MissingPhrase(LookupError):
    """A language's file lacks a phrase; the message names the file and the id."""


@dataclass(frozen=True, slots=True)
class Voice:
    """Twilio's voice for `<Say>`, e.g. he-IL and Google.he-IL-Wavenet-A."""

    language: str
    voice: str


@dataclass(frozen=True, slots=True)
class Phrases:
    """The fixed phrases of every language that has a file."""

    texts: Mapping[str, Mapping[str, str]]
    voices: Mapping[str, Voice]

    def text(self, phrase: str, language: str) -> str:
        """Return a phrase in `language`, or in the default language if it has none of its own."""
        return self.texts.get(language, self.texts[DEFAULT_LANGUAGE])[phrase]

    def voice(self, language: str) -> Voice:
        """Return Twilio's voice for `language`, or for the default language."""
        return self.voices.get(language, self.voices[DEFAULT_LANGUAGE])


def load_phrases(folder: Path = PHRASES_FOLDER) -> Phrases:
    """Read every language's file; a new language is one file more.

    Raises:
        MissingPhrase: a file lacks a phrase.
    """
    files = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.yaml"))}
    for language, content in files.items():
        missing = [phrase for phrase in PHRASE_IDS if not content["phrases"].get(phrase)]
        if missing:
            raise MissingPhrase(f"{folder / language}.yaml lacks {', '.join(missing)}: add them under `phrases`.")
    return Phrases(
        texts={language: content["phrases"] for language, content in files.items()},
        voices={language: Voice(**content["say"]) for language, content in files.items()},
    )


def quote(text: str) -> str:
    """Return the system message that makes the model say `text` and nothing else."""
    return f"Say to the caller exactly the following, word for word, in its own language, and nothing else: «{text}»"


def build_session(settings: Settings) -> dict[str, Any]:
    """Return the `session` of `session.update` (Realtime API, GA): mu-law both ways, and turns that Kav alone answers.

    `create_response` is off, for Kav decides when the bot speaks; `interrupt_response` is on, for the model's own
    reaction to the caller is the fastest there is. The transcriber's language is never pinned.
    """
    pcmu = {"type": "audio/pcmu"}
    session: dict[str, Any] = {
        "type": "realtime",
        "output_modalities": ["audio"],
        "instructions": INSTRUCTIONS,
        "audio": {
            "input": {
                "format": pcmu,
                "noise_reduction": None,
                "transcription": {"model": settings.OPENAI_TRANSCRIBE_MODEL},
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": settings.VAD_THRESHOLD,
                    "prefix_padding_ms": settings.VAD_PREFIX_MS,
                    "silence_duration_ms": settings.VAD_SILENCE_MS,
                    "idle_timeout_ms": None,
                    "create_response": False,
                    "interrupt_response": True,
                },
            },
            "output": {"format": pcmu, "voice": settings.OPENAI_VOICE, "speed": 1.0},
        },
        "tools": list(TOOLS),
        "tool_choice": "auto",
        "max_output_tokens": 1024,
        "truncation": {"type": "retention_ratio", "retention_ratio": 0.8},
        "tracing": None,
    }
    if settings.OPENAI_REALTIME_MODEL.startswith("gpt-realtime-2"):
        session["reasoning"] = {"effort": "low"}  # other models refuse the whole update for it
    return session

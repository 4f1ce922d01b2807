"""The console's words, by language and key; `texts/<language>.yaml` holds them.

texts = load_texts()
texts.text("he", "live.title")
texts.text("en", "calls.found", count=3)
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

FOLDER: Final = Path(__file__).with_name("texts")
RIGHT_TO_LEFT: Final = frozenset({"he", "ar", "fa", "ur", "yi"})
DEFAULT: Final = "he"


@dataclass(frozen=True, slots=True)
class Texts:
    """All texts of the console."""

    by_language: Mapping[str, Mapping[str, str]]

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that the screens are in, the default one first."""
        return tuple(sorted(self.by_language, key=lambda code: (code != DEFAULT, code)))

    def text(self, language: str, key: str, /, **values: object) -> str:
        """Return a text with its values filled in. Raises KeyError for a key that the language's file has not."""
        text = self.by_language[language][key]
        return text.format(**values) if values else text

    def name(self, language: str, group: str, word: str) -> str:
        """Return the name of something that Kav calls `word`, e.g. an end reason; unknown words name themselves."""
        return self.by_language[language].get(f"{group}.{word}", word)


def load_texts(folder: Path = FOLDER) -> Texts:
    """Read every language's file; raises ValueError when one has not what another has."""
    read = {path.stem: dict(_flat(yaml.safe_load(path.read_text(encoding="utf-8")))) for path in folder.glob("*.yaml")}
    everything = {key for texts in read.values() for key in texts}
    for language, texts in read.items():
        if missing := sorted(everything - set(texts)):
            raise ValueError(f"{folder.name}/{language}.yaml has no text for {', '.join(missing)}: add it")
    return Texts(read)


def direction(language: str) -> str:
    """Return `rtl` or `ltr`, as HTML's `dir` has it."""
    return "rtl" if language in RIGHT_TO_LEFT else "ltr"


def _flat(node: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", str(value)

"""Guards that a new language is one data file: its words are spoken, named and read, and a gap in it is refused."""

import shutil
from pathlib import Path

import pytest
import yaml

from realtime_prompt_builder import PHRASES_FOLDER, MissingPhrase, load_languages, load_phrases

ENGLISH = (PHRASES_FOLDER / "en.yaml").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Kav's languages, where another may be added."""
    return shutil.copytree(PHRASES_FOLDER, tmp_path / "phrases")


def test_its_file_is_all_that_it_takes(folder: Path) -> None:
    french = ENGLISH.replace("name: English", "name: French").replace("en-US", "fr-FR")
    assert french.count("Are you still with me?") == 1
    (folder / "fr.yaml").write_text(french.replace("Are you still with me?", "Vous m'entendez ?"), encoding="utf-8")
    phrases = load_phrases(folder)
    assert phrases.text("still_there", "fr") == "Vous m'entendez ?"
    assert phrases.voice("fr").language == "fr-FR"
    assert load_languages(folder)["fr"]["name"] == "French"
    assert load_languages(folder)["fr"]["notice"].keys() == load_languages(folder)["he"]["notice"].keys()


@pytest.mark.parametrize("gap", ["phrases.resume", "phrases.goodbye", "notice.urgent", "say.voice", "name"])
def test_a_gap_is_named_with_its_file(folder: Path, gap: str) -> None:
    content = yaml.safe_load(ENGLISH)
    group, _, key = gap.partition(".")
    if key:
        content[group][key] = ""
    else:
        del content[group]
    (folder / "fr.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    with pytest.raises(MissingPhrase, match=rf"fr\.yaml lacks {gap}: add"):
        load_phrases(folder)

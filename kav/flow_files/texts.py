"""Sentences of a flow: one text, which is in the flow's own language, or a text for each language."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kav.call.flow import Texts
from kav.flow_files.document import Entries, Scalar
from kav.flow_files.faults import instead
from kav.flow_files.section import Section

PHRASES: Final = Path(__file__).parents[1] / "phrases"
_QUESTION_MARKS: Final = "?؟"


def spoken_languages() -> tuple[str, ...]:
    """Return the languages that Kav has sentences of its own in: one file each."""
    return tuple(sorted(path.stem for path in PHRASES.glob("*.yaml")))


def read_languages(section: Section) -> tuple[str, ...]:
    """Return the flow's languages, its own first."""
    section.require("languages", "name the flow's own language first, e.g. `languages: [he, en]`")
    possible, found = spoken_languages(), []
    for word in section.words("languages"):
        if word.text not in possible:
            remedy = f"use {', '.join(possible)}; into other languages the model translates by itself"
            section.fault("languages", f"Kav has no sentences of its own in `{word.text}`", remedy, word.line)
        elif word.text in found:
            section.fault("languages", f"`{word.text}` stands here twice", "keep one", word.line)
        else:
            found.append(word.text)
    return tuple(found)


def read_texts(section: Section, key: str, languages: Sequence[str], questions: int) -> Texts:
    """Return a sentence by language, its spaces and line breaks made single spaces.

    Args:
        section: the group that the sentence stands in.
        key: its key there.
        languages: the flow's languages, its own first; empty when they could not be read.
        questions: how many questions one sentence may ask.
    """
    node = section.node(key)
    if isinstance(node, Scalar):
        return {own: _sentence(section, key, node, questions) for own in languages[:1]}
    if not isinstance(node, Entries):
        if node is not None:
            section.fault(key, "a sentence belongs here", f'write `{key}: "..."`, or a sentence for each language')
        return {}
    group = Section(node, section.path(key), section.faults)
    texts = {language: _in_language(group, language, languages, questions) for language in node.nodes}
    if languages and languages[0] not in texts:
        group.fault(languages[0], "the flow's own language is missing", "add its sentence")
    return texts


def _in_language(group: Section, language: str, languages: Sequence[str], questions: int) -> str:
    if languages and language not in languages:
        remedy = f"{instead(language, languages)}, or add it to `languages`"
        group.fault(language, "this is none of the flow's languages", remedy)
    found = group.scalar(language)
    return _sentence(group, language, found, questions) if found else ""


def _sentence(section: Section, key: str, found: Scalar, questions: int) -> str:
    text = " ".join(found.text.split())
    if not any(character.isalpha() for character in text):
        section.fault(key, "nothing can be said here", "write a sentence", found.line)
    if "«" in text or "»" in text:
        section.fault(key, "« and » are the marks that Kav quotes sentences with", 'use "..."', found.line)
    asked = sum(text.count(mark) for mark in _QUESTION_MARKS)
    if asked > questions:
        section.fault(key, _too_many(asked, questions), _fewer(questions), found.line)
    return text


def _too_many(asked: int, questions: int) -> str:
    return f"it asks {asked} questions" if questions else "it asks a question that nobody may answer"


def _fewer(questions: int) -> str:
    return "ask one, and the other in a step of its own" if questions else "let only steps ask"

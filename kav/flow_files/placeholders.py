"""Variables of an outbound flow, and the places in its sentences where they go: `{name}`.

A brace anywhere else is a slip: it would be spoken, or wait for a value that nobody gives.
"""

from collections.abc import Iterator
from typing import Final

from kav.call.events import Direction
from kav.call.variables import NAME, has_stray_brace, placeholders
from kav.flow_files.document import Entries, Items, Node, Scalar
from kav.flow_files.faults import instead
from kav.flow_files.section import Section

FILLED: Final = ("greeting", "closing", "facts", "ask", "announcement", "machine_message")
"""Texts in which a variable may stand."""

MOST_VARIABLES: Final = 10

_OTHERS_OWN: Final = ("tools", "variables")  # an address and a JSON schema have braces of their own


def read_variables(section: Section, direction: Direction) -> tuple[str, ...]:
    """Return the flow's variables, and note every placeholder of the file that does not fit them."""
    words = section.words("variables")
    if section.has("variables") and direction == "inbound":
        section.fault("variables", "nobody tells them of an inbound call", "delete it, or write `direction: outbound`")
    if len(words) > MOST_VARIABLES:
        section.fault("variables", f"there are {len(words)}", f"use {MOST_VARIABLES} at most")
    for index, word in enumerate(words):
        _check_name(section, word, words[:index])
    names = tuple(word.text for word in words)
    texts = tuple(_texts("", section.entries))
    for key, text in texts:
        _check_text(section, key, text, names)
    used = {name for _, text in texts for name in placeholders(text.text)}
    for word in words:
        if NAME.fullmatch(word.text) and word.text not in used:
            remedy = f"write {{{word.text}}} in a sentence, or delete it: Kav is told nothing that it does not need"
            section.fault("variables", f"`{word.text}` stands in no sentence", remedy, word.line)
    return names


def _check_name(section: Section, word: Scalar, before: tuple[Scalar, ...]) -> None:
    if not NAME.fullmatch(word.text):
        section.fault("variables", f"`{word.text}` is no name", "use up to 40 of a-z 0-9 _, a letter first", word.line)
    if word.text in [other.text for other in before]:
        section.fault("variables", f"`{word.text}` stands here twice", "keep one", word.line)


def _texts(key: str, node: Node) -> Iterator[tuple[str, Scalar]]:
    """Every text of the file, each with the key that says what it is for: that of a sentence, not of its language."""
    if isinstance(node, Scalar):
        yield key, node
    elif isinstance(node, Items):
        for item in node.nodes:
            yield from _texts(key, item)
    elif isinstance(node, Entries):
        for name, inner in node.nodes.items():
            if name not in _OTHERS_OWN:
                yield from _texts(key if key in FILLED else name, inner)


def _check_text(section: Section, key: str, text: Scalar, names: tuple[str, ...]) -> None:
    named = placeholders(text.text)
    if has_stray_brace(text.text) or (named and key not in FILLED):
        remedy = f"a variable is written {{name}}, in {', '.join(FILLED[:-1])} or {FILLED[-1]}; leave other braces out"
        section.faults.add(text.line, key, "a brace stands here that belongs to no variable", remedy)
        return
    for name in named:
        if name not in names:
            remedy = instead(name, names) if names else f"add `variables: [{name}]` to the file"
            section.faults.add(text.line, key, f"`{{{name}}}` is none of the flow's variables", remedy)

"""What a call knows of the person who is called, put into the flow's sentences: `{name}` becomes the name.

A flow declares its variables; whoever orders a call gives each of them a value, once. The filled flow is that call's
own. A value is somebody else's text, so it is made harmless before: one line, bounded, no brackets, nothing that Kav
marks quotations or questions with, and nothing that cannot be seen.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from kav.call.flow import Flow, Step, Texts, Transfer

MAX_VALUE: Final = 80
"""Characters of one value: a name or a date, not a speech."""

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
PLACEHOLDER: Final = re.compile(r"\{([a-z][a-z0-9_]{0,39})\}")
_QUOTATION_MARKS: Final = str.maketrans(dict.fromkeys("«»“”", "'"))
_HARMFUL: Final = str.maketrans(dict.fromkeys("{}«»“”?؟", ""))


def placeholders(text: str) -> tuple[str, ...]:
    """Return the names that a text asks for, each once."""
    return tuple(dict.fromkeys(PLACEHOLDER.findall(text)))


def has_stray_brace(text: str) -> bool:
    """Whether a brace is left that belongs to no placeholder."""
    return bool(set("{}") & set(PLACEHOLDER.sub("", text)))


def harmless(value: str) -> str:
    """Return a value as it may stand within a sentence: one line of visible characters, MAX_VALUE at most."""
    visible = "".join(" " if character.isspace() else character for character in value if _is_text(character))
    return " ".join(visible.translate(_HARMFUL).split())[:MAX_VALUE].strip()


def quotable(text: str) -> str:
    """Return what a caller said as it may stand in quotation marks within an order to the model: it cannot end them."""
    visible = "".join(" " if character.isspace() else character for character in text if _is_text(character))
    return " ".join(visible.translate(_QUOTATION_MARKS).split())


def _is_text(character: str) -> bool:
    """White space, or anything that Unicode does not call a control, a format, a surrogate or unassigned."""
    return character.isspace() or not unicodedata.category(character).startswith("C")


def fill(flow: Flow, values: Mapping[str, str]) -> Flow:
    """Return the flow with every placeholder of its variables filled; `values` has each of them, made harmless."""
    if not flow.variables:
        return flow
    safe = {name: harmless(values[name]) for name in flow.variables}
    return replace(
        flow,
        greeting=_texts(flow.greeting, safe),
        closing=_texts(flow.closing, safe),
        facts=_text(flow.facts, safe),
        steps=tuple(_step(step, safe) for step in flow.steps),
        transfer=_transfer(flow.transfer, safe),
        machine_message=_texts(flow.machine_message, safe),
    )


def _text(text: str, values: Mapping[str, str]) -> str:
    return PLACEHOLDER.sub(lambda found: values[found[1]], text)


def _texts(texts: Texts, values: Mapping[str, str]) -> Texts:
    return {language: _text(text, values) for language, text in texts.items()}


def _step(step: Step, values: Mapping[str, str]) -> Step:
    return replace(step, ask=_texts(step.ask, values))


def _transfer(transfer: Transfer | None, values: Mapping[str, str]) -> Transfer | None:
    return replace(transfer, announcement=_texts(transfer.announcement, values)) if transfer is not None else None

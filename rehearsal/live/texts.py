"""The words that are Kav's own in a call: a business's flow and the fixed phrases, read as the data that they are."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rehearsal.scenario import Scenario

ROOT = Path(__file__).parents[2]
FLOWS, PHRASES = ROOT / "flows", ROOT / "kav" / "phrases"
SAME_SHARE = 0.7
"""The part of a sentence's words, in their order, by which it is known again: models add "fine" and drop a "the"."""


@dataclass(frozen=True)
class Step:
    """A question of the flow, in each of its languages."""

    id: str
    asks: tuple[str, ...]
    answer: str = "text"
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Texts:
    """What a call to one number is made of."""

    language: str = "he"
    steps: tuple[Step, ...] = ()
    closings: tuple[str, ...] = ()
    resume: Mapping[str, str] = field(default_factory=dict)

    @property
    def order(self) -> list[str]:
        """The steps' ids as they stand in the flow, which never goes back."""
        return [step.id for step in self.steps]

    def step(self, step_id: str) -> Step | None:
        """A step by its id."""
        return next((step for step in self.steps if step.id == step_id), None)

    def own(self, text: str) -> list[str]:
        """The flow's own questions and closings that are part of `text`, in its order."""
        known = [*(ask for step in self.steps for ask in step.asks), *self.closings]
        found = [(text.find(one), one) for one in known if one in text]
        return [one for _place, one in sorted(found)]


def texts_for(scenario: Scenario, flows: Path = FLOWS, phrases: Path = PHRASES) -> Texts:
    """The texts of the business that is called, or calls; the default flow's where none has the number."""
    files = [_read(path) for path in sorted(flows.glob("*.yaml"))]
    order = scenario.outbound
    if order is None:
        flow = next((one for one in files if scenario.to in _numbers(one)), None)
    else:
        flow = next((one for one in files if one["id"] == order.flow), None)
    flow = flow or next((one for one in files if one.get("numbers") == "default"), {})
    return Texts(
        language=(flow.get("languages") or ["he"])[0],
        steps=tuple(map(_step, flow.get("steps") or ())),
        closings=tuple((flow.get("closing") or {}).values()),
        resume={path.stem: _read(path)["phrases"]["resume"] for path in sorted(phrases.glob("*.yaml"))},
    )


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def _numbers(flow: Mapping[str, Any]) -> set[str]:
    numbers = flow.get("numbers")
    return {f"+{str(number).lstrip('+')}" for number in numbers} if isinstance(numbers, list) else set()


def _step(data: Mapping[str, Any]) -> Step:
    return Step(
        data["id"],
        tuple((data.get("ask") or {}).values()),
        data.get("answer", "text"),
        tuple(map(str, data.get("choices") or ())),
    )


def plain(text: str) -> str:
    """Text without points, punctuation and case, single-spaced."""
    bare = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return " ".join(re.sub(r"[^\w\s]", " ", bare.casefold()).split())


def contains(said: str, wanted: str) -> bool:
    """Whether `wanted` was said, give or take a word."""
    words = plain(wanted).split()
    return bool(words) and _in_order(words, plain(said).split()) >= SAME_SHARE * len(words)


def _in_order(wanted: list[str], said: list[str]) -> int:
    """How many words of `wanted` are said in their order: the longest common subsequence."""
    row = [0] * (len(said) + 1)
    for word in wanted:
        above = row[:]
        for place, other in enumerate(said, start=1):
            row[place] = above[place - 1] + 1 if word == other else max(above[place], row[place - 1])
    return row[-1]

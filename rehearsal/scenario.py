"""Scenarios: who calls, what they do and when, what the model answers, and what must be true. Data, checked strictly.

    scenario = load(Path("rehearsal/scenarios/talk_over.yaml"))   # raises ScenarioError, one line a mistake

`docs/rehearsal.md` explains every field to whoever writes one.
"""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from rehearsal.expectation import Answer, Expect, Heard, Strict

FOLDER = Path(__file__).with_name("scenarios")
ANY = "any"
"""Instead of a text: whatever the bot says."""

Language = str
LineFault = Literal[
    "no_stop", "fin", "reset", "vanish", "never_answers_close", "slow_reader", "freeze_media"
]  # Call.drop
ModelFault = Literal["drop", "reset", "close", "stall", "vanish", "expire", "garbage"]  # ModelSession's methods
_ACTS = ("says", "presses", "stays_silent_s", "hangs_up", "line", "model")
_MOMENTS = ("after_s", "while_bot_says", "into_own_words_ms")


Place = tuple[str | int, ...]
"""Where a field stands in the file: ("steps", 0, "says")."""


class ScenarioError(Exception):
    """A scenario that cannot be played: a line for each mistake, with file, line, field and remedy."""


class ModelReply(Strict):
    """What the model does about one `response.create`: it says or writes something, or calls a tool."""

    say: str | None = None
    pointed: str | None = None
    """Hebrew with vowel points, for the voice; the transcript is `say`."""
    write: str | None = None
    tool: str | None = None
    arguments: dict[str, Any] | str = Field(default_factory=dict)
    language: Language | None = None
    after_s: float = Field(default=0.15, ge=0, le=60)
    """From `response.created` to its first item."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(kind is not None for kind in (self.say, self.write, self.tool)) != 1:
            raise ValueError("a reply does one thing: give it `say`, `write` or `tool`")
        return self


JudgeTool = Literal[
    "answer_step", "correct_answer", "side_question", "unclear", "transfer_to_human", "end_call", "current_time"
]
"""What the model may call when it is to judge a turn; the last is none of those that it should."""


_BESIDES_ARGUMENTS = frozenset({"call_id", "also", "after_s"})


class Judgement(Strict):
    """The one tool call with which the model judges a turn of the caller's; what is not given is not sent.

    `language` is the line's unless it is given; `arguments` go out as they are instead of all that, broken JSON too.
    A model that obeys makes one call, with an id of its own: `also` is a second one in the same response, `call_id` an
    id that it may have used before.
    """

    tool: JudgeTool
    step: str | None = None
    value: str | int | float | bool | None = None
    more: bool | None = None
    question: str | None = None
    reason: Literal["dont_know", "not_understood", "refused"] | None = None
    do_not_call: bool | None = None
    language: Language | None = None
    arguments: str | None = None
    call_id: str | None = None
    also: "Judgement | None" = None
    after_s: float = Field(default=0.15, ge=0, le=60)
    """From `response.created` to the call."""

    @model_validator(mode="after")
    def _raw_or_not(self) -> Self:
        if self.arguments is not None and self.model_fields_set - {"tool", "arguments", *_BESIDES_ARGUMENTS}:
            raise ValueError("`arguments` go out as they are: leave the other fields out, or leave `arguments` out")
        return self

    def told(self, language: Language) -> Mapping[str, object] | str:
        """The call's arguments, for a line in `language`."""
        if self.arguments is not None:
            return self.arguments
        return {"language": language, **self.model_dump(exclude_none=True, exclude={"tool", *_BESIDES_ARGUMENTS})}


class Step(Strict):
    """One thing that somebody does, and the moment at which they do it; without a moment, when the bot has finished."""

    says: str | None = Field(default=None, min_length=1)
    pointed: str | None = None
    language: Language | None = None
    judge: tuple[Judgement, ...] | None = None
    """How the model judges this turn, time after time; nothing at all (`none`): it does not, however often asked."""
    replies: tuple[ModelReply, ...] = ()
    presses: str | None = Field(default=None, pattern=r"^[0-9*#]+$")
    stays_silent_s: float | None = Field(default=None, gt=0, le=120)
    hangs_up: Literal[True] | None = None
    line: LineFault | None = None
    model: ModelFault | None = None

    after_s: float | None = Field(default=None, ge=0, le=120)
    while_bot_says: str | None = Field(default=None, min_length=1)
    after_ms: float = Field(default=700, ge=0, le=60_000)
    """Into what the bot says: as long as people listen before they interrupt."""
    into_own_words_ms: float | None = Field(default=None, ge=0, le=60_000)

    @model_validator(mode="after")
    def _one_act_and_moment(self) -> Self:
        acts = [name for name in _ACTS if getattr(self, name) is not None]
        moments = [name for name in _MOMENTS if getattr(self, name) is not None]
        if len(acts) != 1:
            raise ValueError(f"a step does one thing, this one does {_listed(acts)}: give it one of {', '.join(_ACTS)}")
        if len(moments) > 1:
            raise ValueError(f"a step has one moment, not {_listed(moments)}: choose one")
        given = self.model_fields_set
        if "after_ms" in given and self.while_bot_says is None:
            raise ValueError("`after_ms` belongs to `while_bot_says`: add that, or say `after_s`")
        if self.says is None and given & {"pointed", "language", "judge"}:
            raise ValueError("`pointed`, `language` and `judge` belong to `says`: move them to a step that speaks")
        if self.says is None and self.presses is None and self.replies:
            raise ValueError("`replies` belong to `says` and `presses`: move them to a step of these")
        return self

    @property
    def act(self) -> str:
        """Which of the acts it is."""
        return next(name for name in _ACTS if getattr(self, name) is not None)


class Reworded(Strict):
    """Words that Kav gives the model, and what the model says instead, once: in its own way, or in its own language."""

    given: str = Field(min_length=1)
    """A text, or its beginning with an ellipsis."""
    say: str = Field(min_length=1)
    language: Language | None = None
    pointed: str | None = None


class Person(Strict):
    """Whom a hand-over reaches, as `twilio.Human` has it; one who answers talks until somebody hangs up."""

    outcome: Literal["answered", "busy", "no-answer", "failed"] = "answered"
    rings_s: float = Field(default=1.0, ge=0, le=60)
    talks_s: float | None = Field(default=None, gt=0, le=60)


class Service(Strict):
    """What the service behind a business's tool answers when it is asked; each must be."""

    asked: str = Field(pattern="^/")
    """Path and query."""
    answers: Any
    """A text, or what becomes JSON."""
    after_s: float = Field(default=0.0, ge=0, le=60)
    status: int = Field(default=200, ge=200, le=599)


class Outbound(Strict):
    """A call that Kav is asked to place, and what becomes of it: whether it is answered, and by what.

    `answered_by` is what machine detection says, so long after the answer.
    """

    flow: str
    to: str = ""
    variables: dict[str, str] = Field(default_factory=dict)
    outcome: Literal["answered", "busy", "no-answer", "failed"] = "answered"
    rings_s: float = Field(default=1.0, ge=0, le=60)
    answered_by: Literal[
        "human", "unknown", "fax", "machine_start", "machine_end_beep", "machine_end_silence", "machine_end_other"
    ] = "human"
    detected_after_s: float = Field(default=3.0, ge=0, le=60)


class Scenario(Strict):
    """One call."""

    title: str
    tells: str = ""
    """One sentence for whoever watches: why this matters."""
    from_: str = Field(default="", alias="from")
    to: str = "+97231234567"
    language: Language = "he"
    """What caller and model speak where a line does not say."""
    network_delay_ms: float = Field(default=0, ge=0, le=2000)
    """Between Twilio and Kav, each way."""
    hand_test: Literal[1, 2, 3, 4] | None = None
    """Which of the four tests this is that a business makes by hand."""
    scripted_only: str = ""
    """Why only a model that plays a part can play this: the rehearsal against the real model leaves it out."""
    outbound: Outbound | None = None
    """Kav calls; the caller of the steps is whoever answers."""
    person: Person = Person()
    rewords: tuple[Reworded, ...] = ()
    services: tuple[Service, ...] = ()
    steps: tuple[Step, ...]
    expect: Expect = Expect()

    @model_validator(mode="after")
    def _somebody_acts(self) -> Self:
        if not self.steps:
            raise ValueError("nobody does anything: add `steps`, and let the last of them hang up")
        return self

    @model_validator(mode="after")
    def _one_direction(self) -> Self:
        if self.outbound is not None and self.model_fields_set & {"from_", "to"}:
            raise ValueError("`from` and `to` are those of a call that comes in: say `outbound: {to: ...}`")
        return self

    def lines(self) -> Iterable[tuple[str, str, str | None]]:
        """Every line that anybody speaks: text, language, pointed text."""
        for step in self.steps:
            if step.says is not None:
                yield step.says, step.language or self.language, step.pointed
            for reply in step.replies:
                if reply.say is not None:
                    yield reply.say, reply.language or step.language or self.language, reply.pointed
        for reworded in self.rewords:
            yield reworded.say, reworded.language or self.language, reworded.pointed

    def phrases(self) -> Iterable[str]:
        """Every text that is expected word for word; some of them nobody but Kav has written."""
        return (heard.text for heard in self.expect.heard or () if not heard.text.endswith("…"))


def load(path: Path) -> Scenario:
    """Read a scenario. Raises ScenarioError."""
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror}: name a scenario's file") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise ScenarioError(f"{path}:{mark.line + 1 if mark else 1}: no YAML: {error.problem}") from None
    if not isinstance(node, yaml.MappingNode):
        raise ScenarioError(f"{path}:1: a scenario is a mapping that begins with `title:`")
    lines: dict[Place, int] = {(): 1}
    twice = list(_number(node, (), lines))
    if twice:
        raise ScenarioError("\n".join(f"{path}:{line}: {field}: given twice; keep one" for line, field in twice))
    return _checked(path, yaml.safe_load(text), lines)


def _checked(path: Path, data: object, lines: Mapping[Place, int]) -> Scenario:
    try:
        # YAML's lists become tuples as JSON's do; for Python's own values strictness would ask for tuples.
        return Scenario.model_validate(_with_tuples(data))
    except ValidationError as error:
        mistakes = sorted(_mistake(found["loc"], found, lines) for found in error.errors())
        raise ScenarioError("\n".join(f"{path}:{line}: {what}" for line, what in dict.fromkeys(mistakes))) from None


def _with_tuples(data: object) -> object:
    if isinstance(data, dict):
        return {key: _judgements(value) if key == "judge" else _plain(key, value) for key, value in data.items()}
    return tuple(map(_with_tuples, data)) if isinstance(data, list) else data


def _plain(key: str, value: object) -> object:
    return value if key in ("arguments", "answers") else _with_tuples(value)


def _judgements(data: object) -> object:
    """One judgement is a list of one, and `none` a list of none."""
    if isinstance(data, dict):
        return (data,)
    return () if data == "none" else _with_tuples(data)


def _number(node: yaml.Node, place: Place, lines: dict[Place, int]) -> Iterable[tuple[int, str]]:
    """Note on which line each field stands; yields those that stand there twice."""
    if isinstance(node, yaml.MappingNode):
        if place[-1:] == ("judge",):
            place = (*place, 0)  # one judgement is a list of one
        for key, value in node.value:
            inner = (*place, key.value)
            if inner in lines:
                yield key.start_mark.line + 1, _named(inner)
            lines[inner] = key.start_mark.line + 1
            yield from _number(value, inner, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*place, index)] = value.start_mark.line + 1
            yield from _number(value, (*place, index), lines)


def _mistake(place: Place, found: Mapping[str, Any], lines: Mapping[Place, int]) -> tuple[int, str]:
    """The line, and what is wrong there."""
    known = max((place[:n] for n in range(len(place) + 1) if place[:n] in lines), key=len)
    field = place[: len(known) + 1] if found["type"] == "missing" else known
    return lines[known], f"{_named(field) or 'the scenario'}: {_remedy(field, found)}"


def _named(place: Place) -> str:
    """`steps[2].says`, counted from 1, as people count."""
    parts = (f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in place)
    return "".join(parts).removeprefix(".")


def _remedy(place: Place, found: Mapping[str, Any]) -> str:
    if found["type"] == "extra_forbidden":
        fields = _fields_at(place)
        close = get_close_matches(str(place[-1]), fields, n=1)
        return f"there is no such field; did you mean `{close[0]}`?" if close else f"no such field; say {_or(fields)}"
    if found["type"] == "missing":
        return "is missing; add it"
    if found["type"] == "value_error":
        return str(found["ctx"]["error"])
    given = found["input"]
    hint = ' (YAML reads a bare yes, no or number as no text: put it in "quotes")' if _unquoted(found) else ""
    return f"{str(found['msg'])[0].lower()}{str(found['msg'])[1:]}, not {given!r}{hint}"


def _unquoted(found: Mapping[str, Any]) -> bool:
    return found["type"] == "string_type" and isinstance(found["input"], bool | int | float)


def _fields_at(place: Place) -> list[str]:
    """The fields that exist where a strange one was found."""
    parents: dict[str, type[BaseModel]] = {
        "steps": Step,
        "judge": Judgement,
        "replies": ModelReply,
        "services": Service,
        "expect": Expect,
        "heard": Heard,
        "answers": Answer,
        "rewords": Reworded,
        "person": Person,
        "outbound": Outbound,
    }
    inside = [parents[part] for part in place[:-1] if isinstance(part, str) and part in parents]
    fields = (inside[-1] if inside else Scenario).model_fields
    return [field.alias or name for name, field in fields.items()]


def _or(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + f" or {names[-1]}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names) if names else "nothing"

"""Steps of a flow: one question each, what counts as its answer, and which step follows.

Branches lead forward or to the closing, so that every call ends; whatever answer is given, every step can be reached.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast, get_args

from kav.call.flow import CLOSING, AnswerKind, GiveUp, Step
from kav.flow_files.document import Scalar
from kav.flow_files.faults import instead
from kav.flow_files.section import Section
from kav.flow_files.texts import read_texts

ID: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
MOST_ASKS: Final = 5
"""Times that one question is asked; a caller who is asked more often hangs up."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a step is read against: the ids of all steps, its own place among them, and what the file offers."""

    ids: tuple[str, ...]
    index: int
    languages: tuple[str, ...]
    has_transfer: bool


def read_steps(section: Section, languages: tuple[str, ...]) -> tuple[Step, ...]:
    """Return the steps of a file, in their order."""
    groups = section.sections("steps")
    ids = tuple(_id(group) for group in groups)
    has_transfer = section.has("transfer")
    places = (Place(ids, index, languages, has_transfer) for index in range(len(ids)))
    steps = tuple(_step(group, place) for group, place in zip(groups, places, strict=True))
    if steps and not section.faults.found:
        _check_reach(groups, steps)
    return steps


def _id(section: Section) -> str:
    section.require("id", "give the step a short name such as `city`; its answer is kept under it")
    step_id = section.text("id")
    if step_id == CLOSING:
        section.fault("id", f"`{CLOSING}` means the end of the steps", "choose another name")
    elif step_id and not ID.fullmatch(step_id):
        section.fault("id", f"`{step_id}` is no name for a step", "use up to 40 of a-z 0-9 _, a letter first")
    return step_id


def _step(section: Section, place: Place) -> Step:
    step_id = place.ids[place.index]
    if step_id and step_id in place.ids[: place.index]:
        section.fault("id", f"another step is called `{step_id}`", "give each step a name of its own")
    section.require("ask", "write the question as it is to be spoken")
    kind = cast("AnswerKind", section.one_of("answer", get_args(AnswerKind), "text"))
    choices = _choices(section, kind)
    step = Step(
        id=step_id,
        ask=read_texts(section, "ask", place.languages, questions=1),
        kind=kind,
        choices=choices,
        confirm=section.flag("confirm"),
        default_caller_id=_caller_id(section, kind),
        optional=section.flag("optional"),
        max_asks=section.whole("max_asks", 1, MOST_ASKS, 3),
        give_up=_give_up(section, place),
        branches=_branches(section, place, _answers(kind, choices)),
    )
    section.finish()
    return step


def _choices(section: Section, kind: AnswerKind) -> tuple[str, ...]:
    if kind != "choice":
        if section.has("choices"):
            section.node("choices")
            section.fault("choices", f"`answer: {kind}` has no choices", "write `answer: choice`, or delete them")
        return ()
    section.require("choices", "name them: `choices: [one, another]`")
    words = section.words("choices")
    choices = tuple(" ".join(word.text.split()) for word in words)
    for index, word in enumerate(words):
        if choices[index].casefold() in [other.casefold() for other in choices[:index]]:
            section.fault("choices", f"`{choices[index]}` stands here twice", "keep one", word.line)
    if len(choices) == 1:
        section.fault("choices", "there is only one choice", "name another, or ask for yes_no")
    return choices


def _caller_id(section: Section, kind: AnswerKind) -> bool:
    if not section.has("default"):
        return False
    section.one_of("default", ("caller_id",), "caller_id")
    if kind != "phone":
        section.fault("default", f"`answer: {kind}` has no default", "write `answer: phone`, or delete the line")
    return True


def _give_up(section: Section, place: Place) -> GiveUp:
    then = cast("GiveUp", section.one_of("then", get_args(GiveUp), "skip"))
    if then == "transfer" and not place.has_transfer:
        section.fault("then", "this flow has nobody to transfer to", "add `transfer:`, or write skip or end")
    return then


def _answers(kind: AnswerKind, choices: tuple[str, ...]) -> tuple[str, ...]:
    return ("yes", "no") if kind == "yes_no" else choices


def _branches(section: Section, place: Place, answers: Sequence[str]) -> dict[str, str]:
    """Return answer -> target, each answer spelled as it is kept."""
    group = section.section("branches")
    if group is None:
        return {}
    if not answers:
        section.fault("branches", "any answer is possible here", "only `answer: choice` and `yes_no` have branches")
        return {}
    kept = {answer.casefold(): answer for answer in answers}
    branches = {}
    for answer in group.entries.nodes:
        if " ".join(answer.split()).casefold() not in kept:
            group.fault(answer, "this is none of the answers", instead(answer, answers))
        _check_target(group, answer, place)
        branches[kept.get(" ".join(answer.split()).casefold(), answer)] = group.text(answer)
    return branches


def _check_target(group: Section, answer: str, place: Place) -> None:
    found = group.scalar(answer)
    target = found.text if isinstance(found, Scalar) else ""
    if not target or target == CLOSING or target in place.ids[place.index + 1 :]:
        return
    if target in place.ids[: place.index + 1]:
        remedy = f"branches go to a later step or to `{CLOSING}`, so that every call ends"
        group.fault(answer, f"`{target}` was asked before", remedy)
    else:
        later = [*filter(None, place.ids[place.index + 1 :]), CLOSING]
        group.fault(answer, f"there is no step `{target}`", instead(target, later))


def _check_reach(groups: Sequence[Section], steps: Sequence[Step]) -> None:
    """Note steps that no answer leads to."""
    reached = {steps[0].id}
    for step, group, following in zip(steps, groups, (*steps[1:], None), strict=True):
        if step.id not in reached:
            group.fault("id", f"no answer leads to `{step.id}`", "name it in a branch of an earlier step, or delete it")
        reached.update(step.branches.values())
        if following and _goes_on(step):
            reached.add(following.id)


def _goes_on(step: Step) -> bool:
    """Say whether any answer, or none, leads to the next step in line."""
    all_answers = _answers(step.kind, step.choices)
    unanswered = step.optional or step.give_up == "skip"
    return unanswered or not all_answers or any(answer not in step.branches for answer in all_answers)

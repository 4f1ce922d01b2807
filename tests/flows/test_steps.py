"""Guards the steps of a flow file: every answer leads somewhere, forward, and every step can be reached."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kav.call.flow import Flow
from kav.flow_files import FlowFileError, read_flow
from tests.flows.files import SMALL, changed, faults_of, flow_of

YES_NO = "answer: yes_no"
CHOICES = "choices: [לבן, שחור]"
NAME = "answer: name"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("  - id: name\n    ask", "  - ask", "15: steps[3].id: it is missing; give the step a short name"),
        ("- id: name", "- id: closing", "15: steps[closing].id: `closing` means the end of the steps; choose another"),
        (
            "- id: name",
            "- id: Their Name",
            "15: steps[Their Name].id: `Their Name` is no name for a step; use up to 40",
        ),
        ("- id: name", "- id: bread", "15: steps[bread].id: another step is called `bread`; give each step a name"),
        ("    ask: לפרוס?\n", "", "12: steps[sliced].ask: it is missing; write the question"),
        (YES_NO, "answer: yesno", "14: steps[sliced].answer: `yesno` is not possible here; did you mean `yes_no`"),
        (YES_NO, "anwser: yes_no", "14: steps[sliced].anwser: there is no such key; did you mean `answer`"),
        (f"    {CHOICES}\n", "", "8: steps[bread].choices: it is missing; name them"),
        (CHOICES, "choices: [לבן]", "11: steps[bread].choices: there is only one choice; name another"),
        (CHOICES, "choices: [Dark, dark]", "11: steps[bread].choices: `dark` stands here twice; keep one"),
        (CHOICES, "choices: {a: b}", "11: steps[bread].choices: a list of texts belongs here; write"),
        (NAME, f"{NAME}\n    choices: [א, ב]", "18: steps[name].choices: `answer: name` has no choices; write"),
        (NAME, f"{NAME}\n    default: caller_id", "18: steps[name].default: `answer: name` has no default; write"),
        (
            NAME,
            "answer: phone\n    default: him",
            "18: steps[name].default: `him` is not possible here; use one of: caller_id",
        ),
        (
            NAME,
            f"{NAME}\n    confirm: sure",
            "18: steps[name].confirm: `sure` is neither true nor false; write true or",
        ),
        (
            NAME,
            f"{NAME}\n    max_asks: 6",
            "18: steps[name].max_asks: `6` is not possible here; write a number from 1 to 5",
        ),
        (
            NAME,
            f"{NAME}\n    max_asks: 2.5",
            "18: steps[name].max_asks: `2.5` is not possible here; write a whole number",
        ),
        (NAME, f"{NAME}\n    max_asks: two", "18: steps[name].max_asks: `two` is not possible here; write a number"),
        (
            NAME,
            f"{NAME}\n    then: hangup",
            "18: steps[name].then: `hangup` is not possible here; use one of: skip, tran",
        ),
        (
            NAME,
            f"{NAME}\n    then: transfer",
            "18: steps[name].then: this flow has nobody to transfer to; add `transfer:`",
        ),
        (NAME, f"{NAME}\n    branches: {{a: b}}", "18: steps[name].branches: any answer is possible here; only"),
        (YES_NO, f"{YES_NO}\n    branches: [no]", "15: steps[sliced].branches: `key: value` lines belong here; indent"),
        (
            YES_NO,
            f"{YES_NO}\n    branches: {{maybe: name}}",
            "15: steps[sliced].branches.maybe: this is none of the answers",
        ),
        (
            CHOICES,
            f"{CHOICES}\n    branches: {{אדום: name}}",
            "12: steps[bread].branches.אדום: this is none of the answers",
        ),
        (
            YES_NO,
            f"{YES_NO}\n    branches: {{no: nane}}",
            "15: steps[sliced].branches.no: there is no step `nane`; did you",
        ),
        (
            YES_NO,
            f"{YES_NO}\n    branches: {{no: bread}}",
            "15: steps[sliced].branches.no: `bread` was asked before; bra",
        ),
        (
            YES_NO,
            f"{YES_NO}\n    branches: {{no: sliced}}",
            "15: steps[sliced].branches.no: `sliced` was asked before; br",
        ),
        (YES_NO, f"{YES_NO}\n    branches: {{no: }}", "15: steps[sliced].branches.no: nothing stands here; write"),
        ("steps:\n", "steps: none\nother:\n", "7: steps: a list of groups belongs here; begin each"),
    ],
)
def test_each_fault_of_a_step_names_its_line_and_its_remedy(tmp_path: Path, old: str, new: str, said: str) -> None:
    found = faults_of(tmp_path, changed(old, new))
    assert any(fault.startswith(said) for fault in found), found


def test_a_step_that_no_answer_leads_to_is_a_fault(tmp_path: Path) -> None:
    around = f"{YES_NO}\n    branches: {{yes: closing, no: closing}}\n    then: end"
    (fault,) = faults_of(tmp_path, changed(YES_NO, around))
    assert fault.startswith("17: steps[name].id: no answer leads to `name`; name it in a branch of an earlier step")


def test_a_step_that_follows_when_nothing_was_answered_is_reached(tmp_path: Path) -> None:
    around = f"{YES_NO}\n    branches: {{yes: closing, no: closing}}"
    assert faults_of(tmp_path, changed(YES_NO, around)) == []


def test_then_transfer_is_right_when_there_is_somebody(tmp_path: Path) -> None:
    transfer = "transfer: {to: +97231110009, announcement: רגע.}\n"
    assert flow_of(tmp_path, changed(NAME, f"{NAME}\n    then: transfer") + transfer).steps[2].give_up == "transfer"


TARGETS = ["s0", "s1", "s2", "s3", "closing"]
BRANCHES = st.lists(st.dictionaries(st.sampled_from(["yes", "no"]), st.sampled_from(TARGETS)), min_size=4, max_size=4)
HEAD = SMALL.partition("steps:")[0] + "steps:\n"


def longest_way(flow: Flow) -> int:
    """The most questions that a call can be asked, whatever is answered; endless loops end as a RecursionError."""

    def from_step(step_id: str | None) -> int:
        step = flow.step(step_id) if step_id else None
        if step is None:
            assert step_id is None
            return 0
        return 1 + max(from_step(flow.after(step, value)) for value in ("yes", "no", None))

    return from_step(flow.steps[0].id)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # it writes files
@given(BRANCHES)
def test_whatever_is_answered_a_flow_that_was_accepted_ends(
    tmp_path_factory: pytest.TempPathFactory, branches: list[dict[str, str]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "ways.yaml"
    steps = [f"  - {{id: s{n}, ask: ספרו, answer: yes_no, branches: {one}}}\n" for n, one in enumerate(branches)]
    path.write_text((HEAD + "".join(steps)).replace("'", ""), encoding="utf-8")
    forward = all(
        target == "closing" or int(target[1]) > n for n, one in enumerate(branches) for target in one.values()
    )
    try:
        flow = read_flow(path)
    except FlowFileError:
        assert not forward
    else:
        assert forward
        assert longest_way(flow) <= len(flow.steps)

"""Guards the flow files of an installation together: a number reaches its own business's flow and never another's."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kav.flow_files import FlowFileError, load_flows
from tests.flows.files import SMALL, write

DEFAULT = "{id: any, business: Any, numbers: default, languages: [he], greeting: שלום, closing: להתראות}\n"


def flow_text(flow_id: str, *numbers: str, more: str = "") -> str:
    head = f"id: {flow_id}\nbusiness: B\nnumbers: [{', '.join(numbers)}]\nlanguages: [he]\n"
    return f"{head}greeting: שלום\nclosing: להתראות\n{more}"


def faults_of_folder(folder: Path) -> list[str]:
    with pytest.raises(FlowFileError) as caught:
        load_flows(folder)
    return [str(fault).removeprefix(f"{folder}/") for fault in caught.value.faults]


def test_a_number_has_its_own_flow_and_no_other(tmp_path: Path) -> None:
    write(tmp_path, flow_text("one", "+97231110001", "+97231110002"), "one.yaml")
    write(tmp_path, flow_text("two", "+97231110003"), "two.yml")
    flows = load_flows(tmp_path)
    found = [flows.inbound(f"+9723111000{last}") for last in range(1, 5)]
    assert [flow and flow.id for flow in found] == ["one", "one", "two", None]


def test_inbound_and_outbound_never_see_each_other(tmp_path: Path) -> None:
    write(tmp_path, flow_text("in", "+97231110001"), "in.yaml")
    write(tmp_path, flow_text("out", "+97231110001", "+97231110002", more="direction: outbound\n"), "out.yaml")
    flows = load_flows(tmp_path)
    answering = flows.inbound("+97231110001")
    calling = flows.outbound("out")
    assert answering is not None
    assert calling is not None
    assert (answering.id, calling.id) == ("in", "out")
    assert flows.inbound("+97231110002") is None
    assert flows.outbound("in") is None


@pytest.mark.parametrize(
    ("default_numbers", "answered"), [((), [True, False, False]), (("+97231110002",), [True, True, False])]
)
def test_the_default_flow_answers_only_the_numbers_it_was_given(
    tmp_path: Path, default_numbers: tuple[str, ...], answered: list[bool]
) -> None:
    write(tmp_path, DEFAULT, "any.yaml")
    write(tmp_path, flow_text("one", "+97231110001"), "one.yaml")
    flows = load_flows(tmp_path, default_numbers)
    found = [flows.inbound(f"+9723111000{last}") for last in range(1, 4)]
    assert [flow is not None for flow in found] == answered


def test_the_default_flow_answers_any_other_number_for_a_star(tmp_path: Path) -> None:
    write(tmp_path, DEFAULT, "any.yaml")
    write(tmp_path, flow_text("one", "+97231110001"), "one.yaml")
    flows = load_flows(tmp_path, ("*",))
    found = [flows.inbound(number) for number in ("+97231110001", "+12025550143", "", "anonymous")]
    assert [flow and flow.id for flow in found] == ["one", "any", "any", "any"]


def test_without_a_default_flow_a_star_answers_nothing(tmp_path: Path) -> None:
    write(tmp_path, flow_text("one", "+97231110001"), "one.yaml")
    assert load_flows(tmp_path, ("*",)).inbound("+12025550143") is None


def test_an_outbound_flow_is_no_default(tmp_path: Path) -> None:
    write(tmp_path, DEFAULT.replace("id: any", "id: any, direction: outbound"), "any.yaml")
    assert faults_of_folder(tmp_path) == [
        "any.yaml:1: numbers: an outbound flow calls from a number; write `numbers: [+972312345678]`."
    ]


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (
            flow_text("one", "+97231110001"),
            flow_text("one", "+97231110002"),
            "b.yaml:1: id: `one` is the flow of {0}/a",
        ),
        (
            flow_text("one", "+97231110001"),
            flow_text("two", "+97231110002", "+97231110001"),
            "b.yaml:3: numbers: +97231110001 belongs to {0}/a.yaml already; a number has one inbound flow",
        ),
        (DEFAULT, DEFAULT.replace("id: any", "id: other"), "b.yaml:1: numbers: {0}/a.yaml is the default flow already"),
        (
            flow_text("one", "+97231110001"),
            flow_text("two", "+97231110002", more="transfer: {to: +97231110001, announcement: רגע}\n"),
            "b.yaml:7: transfer.to: Kav itself answers +97231110001 ({0}/a.yaml); write the number of a human",
        ),
        (
            flow_text("one", "+97231110001", more="transfer: {to: +97231110001, announcement: רגע}\n"),
            flow_text("two", "+97231110002"),
            "a.yaml:7: transfer.to: Kav itself answers +97231110001 ({0}/a.yaml); write the number of a human",
        ),
    ],
)
def test_what_two_files_cannot_both_have_is_refused(tmp_path: Path, first: str, second: str, said: str) -> None:
    write(tmp_path, first, "a.yaml")
    write(tmp_path, second, "b.yaml")
    (fault,) = faults_of_folder(tmp_path)
    assert fault.startswith(said.format(tmp_path)), fault


def test_the_faults_of_all_files_come_at_once(tmp_path: Path) -> None:
    write(tmp_path, SMALL.replace("yes_no", "maybe"), "a.yaml")
    write(tmp_path, "- 1\n", "b.yaml")
    assert [fault.partition(":")[0] for fault in faults_of_folder(tmp_path)] == ["a.yaml", "b.yaml"]


@pytest.mark.parametrize("folder", ["", "none"])
def test_a_folder_without_flow_files_is_a_fault(tmp_path: Path, folder: str) -> None:
    with pytest.raises(FlowFileError, match="there are no flow files here; put one file a business here"):
        load_flows(tmp_path / folder)


NUMBERS = st.sampled_from([f"+9723111000{last}" for last in range(6)])
BUSINESSES = st.lists(
    st.tuples(st.booleans(), st.lists(NUMBERS, min_size=1, max_size=3, unique=True)), min_size=1, max_size=4
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # it writes files
@given(BUSINESSES, st.booleans(), st.sets(NUMBERS | st.just("*")), NUMBERS)
def test_no_number_ever_reaches_another_business(
    tmp_path_factory: pytest.TempPathFactory,
    businesses: list[tuple[bool, list[str]]],
    has_default: bool,
    default_numbers: set[str],
    dialled: str,
) -> None:
    folder = tmp_path_factory.mktemp("flows")
    for place, (outbound, numbers) in enumerate(businesses):
        more = f"direction: {'outbound' if outbound else 'inbound'}\n"
        write(folder, flow_text(f"b{place}", *numbers, more=more), f"b{place}.yaml")
    if has_default:
        write(folder, DEFAULT, "default.yaml")
    taken = [(outbound, number) for outbound, numbers in businesses for number in numbers]
    if len(set(taken)) < len(taken):
        assert any("belongs to" in fault for fault in faults_of_folder(folder))
        return
    found = load_flows(folder, tuple(default_numbers)).inbound(dialled)
    owners = [
        f"b{place}" for place, (outbound, numbers) in enumerate(businesses) if dialled in numbers and not outbound
    ]
    by_default = ["any"] if has_default and {dialled, "*"} & default_numbers else []
    assert ([found.id] if found else []) == (owners or by_default)

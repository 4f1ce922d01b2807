"""Guards the errors of a flow file: each names line, field, what is wrong and what to do; all of them come at once."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kav.flow_files import Fault, FlowFileError, read_flow
from kav.flow_files.document import read_document
from kav.flow_files.faults import Faults
from tests.flows.files import SMALL, changed, faults_of, write

CHOICES = "    choices: [לבן, שחור]\n"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("id: bakery\n", "", "1: id: it is missing; give the flow a short name"),
        ("id: bakery\n", "id: Bakery!\n", "1: id: `Bakery!` is no id; use up to 40"),
        ("business: The Bakery\n", "", "1: business: it is missing; write the name"),
        ("business: The Bakery", "business:", "2: business: nothing stands here; write a value, or delete the line"),
        ("business: The Bakery", "buisness: B", "2: buisness: there is no such key; did you mean `business`"),
        ("numbers: [+97231110042]\n", "", "1: numbers: it is missing; write `numbers: [+972312345678]`"),
        ("numbers: [+97231110042]", "numbers: []", "3: numbers: there is no number; write"),
        ("[+97231110042]", "[+97231110042, +97231110042]", "3: numbers: +97231110042 stands here twice; keep one"),
        ("[he, en]", "[he, xx]", "4: languages: Kav has no sentences of its own in `xx`; use ar, en, "),
        ("[he, en]", "[he, en, he]", "4: languages: `he` stands here twice; keep one"),
        ("[he, en]", "[en]", "6: closing.he: this is none of the flow's languages; use one of: en, or add it"),
        ("[he, en]", "[ru, he, en]", "6: closing.ru: the flow's own language is missing; add its sentence"),
        ("closing: {he", "closing: {hr", "6: closing.hr: this is none of the flow's languages; use one of: he, en"),
        ("id: bakery", "id: bakery\nvoice: marine", "2: voice: the model has no voice `marine`; did you mean `marin`"),
        (
            "id: bakery",
            "id: bakery\ngender: woman",
            "2: gender: `woman` is not possible here; use one of: male, female",
        ),
        ("id: bakery", "id: bakery\ndirection: in", "2: direction: `in` is not possible here; use one of: inbound"),
        (
            "id: bakery",
            "id: bakery\nmachine_message: a",
            "2: machine_message: nobody's machine answers an inbound call",
        ),
        ("id: bakery", "id: bakery\nid: again", "2: id: it stands in line 1 already; keep one of the two"),
        ("ask: לפרוס?", "ask: [לפרוס]", "13: steps[sliced].ask: a sentence belongs here; write `ask:"),
        ("ask: לפרוס?", "ask: '?'", "13: steps[sliced].ask: nothing can be said here; write a sentence"),
        ("ask: לפרוס?", "ask: לפרוס? לארוז?", "13: steps[sliced].ask: it asks 2 questions; ask one"),
        ("ask: לפרוס?", "ask: «לפרוס»", "13: steps[sliced].ask: « and » are the marks"),
        ("הדיגיטלית.", "הדיגיטלית. מה שלומך?", "5: greeting: it asks a question that nobody may answer; let only"),
    ],
)
def test_each_fault_names_its_line_its_field_and_its_remedy(tmp_path: Path, old: str, new: str, said: str) -> None:
    found = faults_of(tmp_path, changed(old, new))
    assert any(fault.startswith(said) for fault in found), found
    assert all(fault.endswith(".") for fault in found)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "id: bakery",
            "\tid: bakery",
            "1: this is not YAML: found character '\\t' that cannot start any token; indent",
        ),
        ("ask: לפרוס?", "ask: לחם: לפרוס?", "13: this is not YAML: mapping values are not allowed here; put a text"),
        ("ask: לפרוס?", 'ask: "כולל מע"מ?"', "13: this is not YAML: expected <block end>, but found '<scalar>'; check"),
        ("ask: לפרוס?", 'ask: "לפרוס?', "13: this is not YAML: found unexpected end of stream; close the quotes"),
        (
            "ask: לפרוס?",
            "ask: {he: לפרוס?}",
            "13: this is not YAML: expected ',' or '}', but got '?'; within { } or [ ]",
        ),
        ("ask: לפרוס?", "ask: [לפרוס", "14: this is not YAML: expected ',' or ']', but got ':'; close the list with ]"),
        ("ask: לפרוס?", "ask: @לפרוס", "13: this is not YAML: found character '@' that cannot start any token; put"),
        ("ask: לפרוס?", "ask: *bread", "13: `*bread` points elsewhere; write the value out"),
        (
            "ask: לפרוס?",
            "ask: !!python/name:os.system x",
            "13: `tag:yaml.org,2002:python/name:os.system` is a YAML tag",
        ),
        ("ask: לפרוס?", "ask: \x07", "13: this is not YAML: special characters are not allowed; check the"),
        ("steps:", "---\nsteps:", "7: this is not YAML: but found another document; one file holds one flow"),
    ],
)
def test_what_is_not_yaml_is_said_with_its_line_and_remedy(tmp_path: Path, old: str, new: str, said: str) -> None:
    found = faults_of(tmp_path, changed(old, new))
    assert len(found) == 1
    assert found[0].startswith(said), found


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "- id: bakery\n", "bakery"])
def test_a_file_without_a_flow_says_how_to_begin(tmp_path: Path, text: str) -> None:
    (fault,) = faults_of(tmp_path, text)
    assert fault.startswith("1: there is no flow in this file; begin with `id: ...`")


def test_a_file_in_another_encoding_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "bakery.yaml"
    path.write_bytes(SMALL.encode().replace("לפרוס".encode(), "לפרוס".encode("cp1255")))
    with pytest.raises(FlowFileError, match=r"bakery\.yaml:13: this is not UTF-8 text; save the file as UTF-8\."):
        read_flow(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FlowFileError, match=r"none\.yaml:1: the file cannot be read: No such file or directory"):
        read_flow(tmp_path / "none.yaml")


def test_all_faults_of_a_file_come_at_once_and_in_its_order(tmp_path: Path) -> None:
    text = changed(CHOICES, "").replace("+97231110042", "03-1110042").replace("yes_no", "boolean")
    found = faults_of(tmp_path, text + "colour: red\n")
    assert [fault.partition(";")[0] for fault in found] == [
        "3: numbers: '03-1110042' is no number in E.164 form",
        "8: steps[bread].choices: it is missing",
        "13: steps[sliced].answer: `boolean` is not possible here",
        "17: colour: there is no such key",
    ]


def test_one_fault_brings_no_others_with_it(tmp_path: Path) -> None:
    """A flow whose languages are wrong is not told that each of its sentences is in a wrong language as well."""
    assert len(faults_of(tmp_path, changed("languages: [he, en]", "languages: [hebrew]"))) == 1
    assert len(faults_of(tmp_path, changed("languages: [he, en]\n", ""))) == 1


def test_a_greeting_may_ask_when_no_step_does(tmp_path: Path) -> None:
    text = SMALL.partition("steps:")[0].replace("הדיגיטלית.", "הדיגיטלית. איך אפשר לעזור?")
    assert faults_of(tmp_path, text) == []


PIECES = st.sampled_from(
    [
        "id: a\n",
        "steps:\n",
        "  - ",
        "numbers: ",
        "hours: ",
        "tools:\n",
        "[",
        "{",
        "}",
        "]",
        "*a",
        "&a ",
        "!!x ",
        "\t",
        "'",
        ": ",
    ]
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # it writes a file
@given(st.lists(PIECES | st.text(max_size=5) | st.sampled_from(SMALL.splitlines(keepends=True)), max_size=30))
def test_any_file_is_a_flow_or_has_faults_that_point_into_it(
    tmp_path_factory: pytest.TempPathFactory, text: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes("".join(text).encode("utf-8", "surrogatepass"))
    faults: tuple[Fault, ...] = ()
    try:
        flow = read_flow(path)
    except FlowFileError as error:
        faults = error.faults
    assert faults or flow.steps or flow.greeting
    assert all(fault.line >= 1 and fault.what and fault.remedy for fault in faults)


def test_a_thousand_brackets_are_a_fault_and_no_crash() -> None:
    faults = Faults("deep.yaml")
    assert read_document(b"a: " + b"[" * 20_000, faults) is None
    assert faults.found


def test_the_message_of_the_error_has_a_line_for_each_fault(tmp_path: Path) -> None:
    path = write(tmp_path, changed("id: bakery\n", "").replace("business: The Bakery\n", ""))
    with pytest.raises(FlowFileError) as caught:
        read_flow(path)
    assert str(caught.value).splitlines() == [str(fault) for fault in caught.value.faults]
    assert len(caught.value.faults) == 2

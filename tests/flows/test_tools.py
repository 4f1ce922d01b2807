"""Guards transfers and tools of a flow file: only what is safe to call, and no secret in a file."""

from pathlib import Path

import pytest

from kav.flow_files import usable
from tests.flows.files import SMALL, faults_of, flow_of

TOOL = """\
tools:
  - name: slots
    description: Free slots.
    url: https://bakery.example.com/slots
"""


def tool(old: str = "", new: str = "", *more: str) -> str:
    assert old in TOOL
    return SMALL + TOOL.replace(old, new, 1) + "".join(f"    {line}\n" for line in more)


@pytest.mark.parametrize(
    ("old", "new", "more", "said"),
    [
        ("name: slots", "name: answer_step", [], "19: tools[answer_step].name: `answer_step` is a tool of Kav's own"),
        ("name: slots", "name: free slots", [], "19: tools[free slots].name: `free slots` is no name for a tool"),
        ("    description: Free slots.\n", "", [], "19: tools[slots].description: it is missing; tell the model"),
        (
            "https://bakery",
            "http://bakery",
            [],
            "21: tools[slots].url: `http://bakery.example.com/slots` is not encrypted",
        ),
        ("https://bakery", "ftp://bakery", [], "21: tools[slots].url: `ftp://bakery.example.com/slots` is no address"),
        ("https://bakery.example.com/slots", "https://[bad", [], "21: tools[slots].url: `https://[bad` is no address"),
        ("https://bakery", "https://me:pw@bakery", [], "21: tools[slots].url: a secret stands in the address"),
        (
            "/slots",
            "/${KEY}",
            [],
            "21: tools[slots].url: a secret stands in the address, where logs would show it; send",
        ),
        ("/slots", "/{day}", [], "21: tools[slots].url: the address has a placeholder or a fragment; leave it out"),
        ("", "", ["method: PUT"], "22: tools[slots].method: `PUT` is not possible here; use one of: GET, POST"),
        (
            "",
            "",
            ["timeout_s: 16"],
            "22: tools[slots].timeout_s: `16` is not possible here; write a number from 1 to 15",
        ),
        ("", "", ["timeout_s: 0.5"], "22: tools[slots].timeout_s: `0.5` is not possible here; write a number from"),
        ("", "", ["timeout_s: nan"], "22: tools[slots].timeout_s: `nan` is not possible here; write a number from"),
        ("", "", ["timeout: 5"], "22: tools[slots].timeout: there is no such key; did you mean `timeout_s`"),
        (
            "",
            "",
            ["headers: {Authorization: Bearer 123}"],
            "22: tools[slots].headers.Authorization: a secret stands in",
        ),
        ("", "", ["headers: {X-A: '${a-b}'}"], "22: tools[slots].headers.X-A: `${a-b}` names no secret; write ${NAME}"),
        ("", "", ["headers: {X A: b}"], "22: tools[slots].headers.X A: this is no name of a header; use letters"),
        ("", "", ['headers: {X-A: "b\\nc"}'], "22: tools[slots].headers.X-A: the value has more than one line; write"),
        (
            "",
            "",
            ["parameters: [day]"],
            "22: tools[slots].parameters: a JSON schema belongs here; write `type: object`",
        ),
        ("", "", ["parameters: {type: string}"], "22: tools[slots].parameters.type: arguments are an object; write"),
    ],
)
def test_an_unsafe_or_unusable_tool_is_refused(tmp_path: Path, old: str, new: str, more: list[str], said: str) -> None:
    (fault,) = faults_of(tmp_path, tool(old, new, *more))
    assert fault.startswith(said), fault


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ("{type: object, propertys: {}}", "propertys: this is no keyword of a schema; did you mean `properties`"),
        ("{type: object, properties: [day]}", "properties: a group belongs here; write `name: {type: string}` lines"),
        ("{type: object, properties: {a: string}}", "properties.a: a JSON schema belongs here; write e.g."),
        ("{type: object, properties: {a: {type: str}}}", "properties.a.type: `str` is no type of JSON; did you mean"),
        ("{type: object, properties: {a: {description: b}}}", "properties.a: it says nothing about its type; add"),
        ("{type: object, properties: {a: {type: array}}}", "properties.a: it does not say what the array holds; add"),
        ("{type: object, properties: {a: {type: array, items: {type: x}}}}", "properties.a.items.type: `x` is no type"),
        ("{type: object, properties: {a: {enum: []}}}", "properties.a.enum: a list of values belongs here; write"),
        ("{type: object, properties: {a: {anyOf: {}}}}", "properties.a.anyOf: a list of schemas belongs here; begin"),
        (
            "{type: object, properties: {a: {type: null}}, required: [b]}",
            "required: `b` is none of the properties; use",
        ),
        ("{type: object, required: a}", "required: a list of names belongs here; write"),
        (
            "{type: object, properties: {a: {type: string, pattern: '(?=b)'}}}",
            "properties.a.pattern: this pattern cannot",
        ),
        ("{type: object, properties: {a: {type: string, pattern: [b]}}}", "properties.a.pattern: a regular expression"),
        ("{type: object, additionalProperties: 1}", "additionalProperties: a JSON schema belongs here; write"),
    ],
)
def test_a_schema_that_the_model_would_refuse_is_refused_here(tmp_path: Path, schema: str, said: str) -> None:
    (fault,) = faults_of(tmp_path, tool("", "", f"parameters: {schema}"))
    assert fault.startswith(f"22: tools[slots].parameters.{said}"), fault


def test_two_tools_have_two_names(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, SMALL + TOOL + TOOL.partition("\n")[2])
    assert fault.startswith("22: tools[slots].name: another tool is called `slots`; give each tool a name of its own")


def test_a_tool_without_parameters_takes_no_arguments(tmp_path: Path) -> None:
    (found,) = flow_of(tmp_path, tool()).tools
    assert found.parameters == {"type": "object", "properties": {}, "additionalProperties": False}
    assert (found.method, found.timeout_s, found.headers) == ("GET", 5, {})


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["announcement: רגע."], "19: transfer.to: it is missing; write the number of the human"),
        (["to: +97231110009"], "19: transfer.announcement: it is missing; write what the caller hears"),
        (["to: +97231110009", "announcement: לחכות?"], "20: transfer.announcement: it asks a question that nobody may"),
        (
            ["to: +97231110009", "announcement: רגע.", "ring_s: 2"],
            "21: transfer.ring_s: `2` is not possible here; write",
        ),
        (
            ["to: +97231110009", "announcement: רגע.", "time_limit_s: 20000"],
            "21: transfer.time_limit_s: `20000` is not",
        ),
        (
            ["to: +97231110009", "announcement: רגע.", "ring: 20"],
            "21: transfer.ring: there is no such key; did you mean",
        ),
    ],
)
def test_a_transfer_needs_a_human_and_a_word_before(tmp_path: Path, lines: list[str], said: str) -> None:
    (fault,) = faults_of(tmp_path, SMALL + "transfer:\n" + "".join(f"  {line}\n" for line in lines))
    assert fault.startswith(said), fault


def test_a_setting_of_kavs_own_is_no_secret_for_a_tool(tmp_path: Path) -> None:
    """Else a flow file could send the key to the model's account to anybody."""
    (fault,) = faults_of(tmp_path, tool("", "", "headers: {X-Key: '${OPENAI_API_KEY}'}"))
    assert "`${OPENAI_API_KEY}` would send a setting of Kav's own; give the tool a secret of its own" in fault


def test_a_tool_without_its_secret_is_left_out_and_the_others_stay(tmp_path: Path) -> None:
    flow = flow_of(
        tmp_path,
        tool("", "", "headers: {X-Key: '${BAKERY_KEY}'}") + TOOL.partition("\n")[2].replace("slots", "bread", 1),
    )
    assert [one.name for one in usable(flow, {"BAKERY_KEY": "k"}).tools] == ["slots", "bread"]
    assert [one.name for one in usable(flow, {}).tools] == ["bread"]

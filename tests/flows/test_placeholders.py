"""Guards variables of an outbound flow: a placeholder that nobody fills, or a stray brace, is found before a call."""

from pathlib import Path

import pytest

from tests.flows.files import SMALL, faults_of, flow_of

OUTBOUND = SMALL.replace("languages:", "direction: outbound\nvariables: [name]\nlanguages:").replace(
    "greeting: שלום, מדברת", "greeting: שלום {name}, מדברת"
)


def test_variables_of_a_file_become_those_of_the_flow(tmp_path: Path) -> None:
    flow = flow_of(tmp_path, OUTBOUND)
    assert flow.variables == ("name",)
    assert flow.greeting == {"he": "שלום {name}, מדברת הנציגה הדיגיטלית."}


def test_a_placeholder_may_stand_in_every_sentence_of_any_language(tmp_path: Path) -> None:
    text = OUTBOUND.replace("Thank you, goodbye.", "Thank you {name}, goodbye.").replace(
        "ask: לפרוס?", "ask: {he: 'לפרוס, {name}?'}"
    )
    text += "facts: '{name} הזמינו לחם.'\nmachine_message: שלום {name}.\n"
    assert flow_of(tmp_path, text + "transfer: {to: +97231110009, announcement: 'רגע {name}.'}\n").facts


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (
            "שלום {name}",
            "שלום {nmae} {name}",
            "7: greeting: `{nmae}` is none of the flow's variables; did you mean `name`.",
        ),
        ("איזה לחם?", "איזה לחם, {name?", "11: ask: a brace stands here that belongs to no variable; "),
        ("business: The", "business: The {name}", "2: business: a brace stands here that belongs to no variable; "),
        ("[name]", "[name, city]", "5: variables: `city` stands in no sentence; write {city} in a sentence, "),
        ("[name]", "[name, name]", "5: variables: `name` stands here twice; keep one."),
        ("[name]", "[Name]", "5: variables: `Name` is no name; use up to 40 of a-z 0-9 _, a letter first."),
        (
            "variables: [name]\n",
            "",
            "6: greeting: `{name}` is none of the flow's variables; add `variables: [name]` to the file.",
        ),
        (
            "direction: outbound\n",
            "",
            "4: variables: nobody tells them of an inbound call; delete it, or write `direction: outbound`.",
        ),
    ],
)
def test_what_does_not_fit_is_told_with_line_and_remedy(tmp_path: Path, old: str, new: str, fault: str) -> None:
    assert old in OUTBOUND
    found = faults_of(tmp_path, OUTBOUND.replace(old, new, 1))
    assert [line for line in found if line.startswith(fault)], found


def test_a_tool_s_address_and_schema_keep_their_own_braces(tmp_path: Path) -> None:
    tools = """\
tools:
  - name: slots
    description: Free slots.
    url: https://bakery.example.com/slots
    headers: {Authorization: "Bearer ${TOKEN}"}
    parameters: {type: object, properties: {code: {type: string, pattern: "a{2}"}}}
"""
    assert faults_of(tmp_path, SMALL + tools) == []

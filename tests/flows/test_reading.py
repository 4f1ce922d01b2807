"""Guards reading a flow file: what is written becomes the flow, and is read as it was meant."""

from pathlib import Path

from kav.call.flow import Flow, Hours, HttpTool, Step, Transfer
from kav.flow_files import secrets_of
from tests.flows.files import SMALL, changed, flow_of

COMPLETE = """\
id: clinic-2
business: מרפאה
numbers: [+97231110001, "+97231110002"]
direction: outbound
languages: [he, en]
voice: cedar
gender: male
greeting: >
  שלום,
  מדבר הנציג הדיגיטלי.
closing: {he: תודה., en: Thanks.}
facts: |
  שורה ראשונה.
  שורה שנייה.
hours:
  timezone: Asia/Jerusalem
  sun-thu: [16:00-19:00, 8:00-13:00]
  fri: 08:00 - 12:00
  sat: closed
steps:
  - id: phone
    ask: {he: "מה המספר?", en: "Which number?"}
    answer: phone
    default: caller_id
    confirm: true
    optional: yes
    max_asks: 5
    then: transfer
  - id: new
    ask: ביקור ראשון?
    answer: yes_no
    branches: {no: closing}
  - id: story
    ask: ספרו.
transfer:
  to: +97231110009
  announcement: רגע.
  ring_s: 20
  time_limit_s: 600
tools:
  - name: slots
    description: Free slots.
    url: https://clinic.example.com/slots?kind=all
    method: POST
    timeout_s: 2.5
    headers: {Authorization: "Bearer ${TOKEN_A}", X-Two: "${TOKEN_B}"}
    parameters:
      type: object
      properties:
        day: {type: string}
        many: {type: integer, minimum: 1, maximum: 9}
        sure: {type: string, enum: [yes, no]}
      required: [day]
      additionalProperties: false
machine_message: נתקשר שוב.
"""


def test_a_complete_file_becomes_the_flow_that_it_describes(tmp_path: Path) -> None:
    morning_and_evening = ("08:00-13:00", "16:00-19:00")
    assert flow_of(tmp_path, COMPLETE) == Flow(
        id="clinic-2",
        business="מרפאה",
        direction="outbound",
        numbers=("+97231110001", "+97231110002"),
        languages=("he", "en"),
        greeting={"he": "שלום, מדבר הנציג הדיגיטלי."},
        closing={"he": "תודה.", "en": "Thanks."},
        facts="שורה ראשונה.\nשורה שנייה.",
        steps=(
            Step(
                id="phone",
                ask={"he": "מה המספר?", "en": "Which number?"},
                kind="phone",
                default_caller_id=True,
                confirm=True,
                optional=True,
                max_asks=5,
                give_up="transfer",
            ),
            Step(id="new", ask={"he": "ביקור ראשון?"}, kind="yes_no", branches={"no": "closing"}),
            Step(id="story", ask={"he": "ספרו."}),
        ),
        gender="male",
        voice="cedar",
        hours=Hours(
            "Asia/Jerusalem",
            dict.fromkeys(("sun", "mon", "tue", "wed", "thu"), morning_and_evening)
            | {"fri": ("08:00-12:00",), "sat": ()},
        ),
        transfer=Transfer("+97231110009", {"he": "רגע."}, ring_s=20, time_limit_s=600),
        tools=(
            HttpTool(
                name="slots",
                description="Free slots.",
                url="https://clinic.example.com/slots?kind=all",
                method="POST",
                parameters={
                    "type": "object",
                    "properties": {
                        "day": {"type": "string"},
                        "many": {"type": "integer", "minimum": 1, "maximum": 9},
                        "sure": {"type": "string", "enum": ["yes", "no"]},
                    },
                    "required": ["day"],
                    "additionalProperties": False,
                },
                timeout_s=2.5,
                headers={"Authorization": "Bearer ${TOKEN_A}", "X-Two": "${TOKEN_B}"},
            ),
        ),
        machine_message={"he": "נתקשר שוב."},
    )


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    flow = flow_of(tmp_path, SMALL)
    assert (flow.direction, flow.gender, flow.voice, flow.facts) == ("inbound", "female", "", "")
    assert (flow.hours, flow.transfer, flow.tools, flow.machine_message) == (None, None, (), {})
    assert flow.steps[2] == Step(id="name", ask={"he": "על שם מי?"}, kind="name")


def test_words_that_yaml_takes_for_booleans_stay_the_words_that_were_written(tmp_path: Path) -> None:
    flow = flow_of(tmp_path, changed("choices: [לבן, שחור]", "choices: [no, on]\n    branches: {no: name}"))
    assert flow.steps[0].choices == ("no", "on")
    assert flow.steps[0].branches == {"no": "name"}


def test_hours_and_numbers_are_no_arithmetic(tmp_path: Path) -> None:
    flow = flow_of(tmp_path, SMALL + "hours: {timezone: UTC, sat-sun: 09:30-10:00}\n")
    assert flow.numbers == ("+97231110042",)
    assert flow.hours is not None
    assert [day for day, spans in flow.hours.days.items() if spans == ("09:30-10:00",)] == ["sun", "sat"]


def test_a_branch_may_be_written_with_other_capitals_and_is_kept_as_the_choice_is(tmp_path: Path) -> None:
    flow = flow_of(tmp_path, changed("[לבן, שחור]", "[White, Dark  rye]\n    branches: {dark rye: name}"))
    assert flow.steps[0].choices == ("White", "Dark rye")
    assert flow.after(flow.steps[0], "Dark rye") == "name"


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "bakery.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode())
    assert flow_of(tmp_path, path.read_bytes().decode()) == flow_of(tmp_path, SMALL)


def test_secrets_are_named_and_not_resolved(tmp_path: Path) -> None:
    assert secrets_of(flow_of(tmp_path, COMPLETE)) == ("TOKEN_A", "TOKEN_B")

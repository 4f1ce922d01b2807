"""What the model gives a tool is held against its schema: right values pass, wrong ones are named to the model."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kav.wire.tool_arguments import WrongArguments, read_arguments

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "day": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d$"},
        "kind": {"type": "string", "enum": ["check_up", "filling"]},
        "people": {"type": "integer", "minimum": 1, "maximum": 4},
        "price": {"type": ["number", "null"], "exclusiveMinimum": 0, "multipleOf": 0.5},
        "teeth": {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3, "uniqueItems": True},
        "who": {"type": "object", "properties": {"name": {"type": "string", "minLength": 2}}, "required": ["name"]},
        "when": {"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 5}]},
        "exact": {"const": 1},
    },
    "required": ["day"],
    "additionalProperties": False,
}
DAY = {"day": "2026-11-24"}


@pytest.mark.parametrize(
    "right",
    [
        {},
        {"kind": "filling", "people": 4, "price": 10.5},
        {"price": None, "people": 2.0},
        {"teeth": [1, 2], "who": {"name": "דנה", "age": 7}},
        {"when": 10},
        {"when": "10:30"},
        {"exact": 1},
    ],
)
def test_what_the_schema_allows_is_taken_as_it_is(right: dict[str, object]) -> None:
    assert read_arguments(SCHEMA, json.dumps({**DAY, **right})) == {**DAY, **right}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"day": "Tuesday"}, "day must match"),
        ({"kind": "surgery"}, "kind must be one of check_up, filling"),
        ({"people": 0}, "people is out of range"),
        ({"people": True}, "people must be integer"),
        ({"people": 1.5}, "people must be integer"),
        ({"price": 0}, "price is out of range"),
        ({"price": 0.7}, "price must be a multiple of 0.5"),
        ({"teeth": []}, "teeth has the wrong number"),
        ({"teeth": [1, 1]}, "teeth holds something twice"),
        ({"teeth": ["a"]}, "an item of teeth must be integer"),
        ({"who": {}}, "who.name is missing"),
        ({"who": {"name": "d"}}, "who.name has the wrong length"),
        ({"when": "half past ten"}, "when is none of what is possible"),
        ({"exact": True}, "exact must be 1"),
        ({"url": "http://x"}, "url is unknown"),
    ],
)
def test_what_is_wrong_is_named(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(WrongArguments, match=named):
        read_arguments(SCHEMA, json.dumps({**DAY, **wrong}))


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string", "pattern": "^(a+)+$"}, "a" * 8000 + "b"),
        ({"type": "array", "uniqueItems": True, "items": {"type": "integer"}}, [*range(1600), 0]),
    ],
)
def test_no_arguments_hold_the_process_up(schema: dict[str, Any], value: object) -> None:
    wanted = {"type": "object", "properties": {"it": schema}}
    began = time.process_time()
    with pytest.raises(WrongArguments):
        read_arguments(wanted, json.dumps({"it": value}, separators=(",", ":")))
    assert time.process_time() - began < 1, "the first takes hours where every way to read it is tried"


def test_what_is_equal_in_json_is_held_twice_and_true_is_not_one() -> None:
    unique = {"type": "object", "properties": {"it": {"type": "array", "uniqueItems": True}}}
    for twice in ([1, 1.0], [{"a": [1], "b": 2}, {"b": 2, "a": [1]}], [None, None]):
        with pytest.raises(WrongArguments, match="holds something twice"):
            read_arguments(unique, json.dumps({"it": twice}))
    assert read_arguments(unique, '{"it": [1, true, [1], [true], "1", {}, []]}')


def test_no_arguments_at_all_are_none() -> None:
    assert read_arguments({"type": "object", "properties": {}}, "") == {}


@pytest.mark.parametrize("broken", ["{", "[]", "null", '{"day": NaN}', "[" * 8000, "x" * 9000])
def test_what_is_no_json_object_is_refused(broken: str) -> None:
    with pytest.raises(WrongArguments):
        read_arguments({"type": "object"}, broken)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*SCHEMA["properties"], "x"]), inner),
)


@given(JSON)
def test_whatever_a_model_sends_is_taken_or_refused_and_nothing_else(sent: object) -> None:
    try:
        taken = read_arguments(SCHEMA, json.dumps(sent))
    except WrongArguments:
        return
    assert set(taken) <= set(SCHEMA["properties"])

"""What the model wants to give a tool, held against the tool's JSON schema before anything is sent.

The schema's keywords are those that a flow file may use (`kav.flow_files.json_schema`); `format`, `title`,
`description`, `default` and `examples` bind nobody.
"""

import json
from collections.abc import Hashable, Iterator, Mapping
from typing import Any, Final

from kav import pattern

MAX_ARGUMENTS: Final = 8192
"""Characters of JSON: what a caller says in one turn is far less."""

Schema = Mapping[str, Any]

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


class WrongArguments(ValueError):
    """The arguments are not what the tool takes; the message tells the model what is wrong."""


def read_arguments(schema: Schema, text: str) -> dict[str, Any]:
    """Return the arguments of a call (JSON text; nothing at all stands for none).

    Raises:
        WrongArguments: no JSON object, or one that is not as the schema has it.
    """
    if len(text) > MAX_ARGUMENTS:
        raise WrongArguments("the arguments are too long")
    try:
        arguments = json.loads(text or "{}", parse_constant=_no_constant)
        faults = list(_faults(schema, arguments, ""))
    except (ValueError, RecursionError):
        raise WrongArguments("the arguments are no JSON") from None
    if not isinstance(arguments, dict):
        raise WrongArguments("the arguments are no JSON object")
    if faults:
        raise WrongArguments("; ".join(faults[:3]))
    return arguments


def _no_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity are no JSON


def _faults(schema: Schema, value: object, at: str) -> Iterator[str]:
    """Yield what is wrong with a value; where its type is wrong, nothing else is looked at."""
    name = at or "the call"
    allowed = schema.get("type", list(_TYPES))
    kinds = [allowed] if isinstance(allowed, str) else list(allowed)
    if not any(_is(value, kind) for kind in kinds):
        yield f"{name} must be {' or '.join(kinds)}"
        return
    if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
        yield f"{name} must be one of {', '.join(map(str, schema['enum']))}"
    if "const" in schema and not _same(value, schema["const"]):
        yield f"{name} must be {schema['const']}"
    if "anyOf" in schema and all(any(_faults(one, value, at)) for one in schema["anyOf"]):
        yield f"{name} is none of what is possible"
    if isinstance(value, dict):
        yield from _object(schema, value, at)
    elif isinstance(value, list):
        yield from _array(schema, value, name)
    elif isinstance(value, str):
        yield from _text(schema, value, name)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _number(schema, value, name)


def _is(value: object, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(kind, ()))


def _same(one: object, other: object) -> bool:
    return _key(one) == _key(other)


def _key(value: object) -> Hashable:
    """Return what is equal for values that are equal in JSON, where true is not 1."""
    if isinstance(value, list):
        return ("array", *map(_key, value))
    if isinstance(value, dict):
        return frozenset((name, _key(inner)) for name, inner in value.items())
    return (type(value) is bool, value)


def _object(schema: Schema, value: Mapping[str, object], at: str) -> Iterator[str]:
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{_inside(at, name)} is missing"
    for name, inner in value.items():
        if name in known:
            yield from _faults(known[name], inner, _inside(at, name))
        elif others is False:
            yield f"{_inside(at, name[:64])} is unknown"
        elif isinstance(others, Mapping):
            yield from _faults(others, inner, _inside(at, name[:64]))


def _inside(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


def _array(schema: Schema, value: list[object], name: str) -> Iterator[str]:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        yield f"{name} has the wrong number of items"
    if schema.get("uniqueItems") and len(set(map(_key, value))) < len(value):
        yield f"{name} holds something twice"
    for item in value if "items" in schema else ():
        yield from _faults(schema["items"], item, f"an item of {name}")


def _text(schema: Schema, value: str, name: str) -> Iterator[str]:
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        yield f"{name} has the wrong length"
    if "pattern" in schema and not pattern.matches(str(schema["pattern"]), value):
        yield f"{name} must match {schema['pattern']}"


def _number(schema: Schema, value: float, name: str) -> Iterator[str]:
    if value < schema.get("minimum", value) or value > schema.get("maximum", value):
        yield f"{name} is out of range"
    if value <= schema.get("exclusiveMinimum", float("-inf")) or value >= schema.get("exclusiveMaximum", float("inf")):
        yield f"{name} is out of range"
    step = schema.get("multipleOf")
    if step and not _is_multiple(value, step):
        yield f"{name} must be a multiple of {step}"


def _is_multiple(value: float, step: float) -> bool:
    try:
        return abs(value / step - round(value / step)) <= 1e-9
    except OverflowError:  # larger than any number that a service means
        return False

"""The arguments of a tool: a JSON schema, checked for its shape, so that the model's API does not refuse the call."""

import re
from typing import Any, Final

from kav import pattern
from kav.flow_files.document import Entries, Items, Node, Scalar
from kav.flow_files.faults import Faults, instead

NO_ARGUMENTS: Final[dict[str, Any]] = {"type": "object", "properties": {}, "additionalProperties": False}
TYPES: Final = ("string", "number", "integer", "boolean", "array", "object", "null")
KEYWORDS: Final = (
    *("type", "description", "title", "enum", "const", "default", "examples", "format", "pattern"),
    *("properties", "required", "additionalProperties", "items", "anyOf"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "minItems", "maxItems", "uniqueItems"),
)
"""What a schema may say; the model's API refuses a whole session for a schema that it cannot read."""

_CONSTANTS: Final = {"true": True, "false": False, "null": None, "~": None, "": None}


def read_schema(node: Node, at: str, faults: Faults) -> dict[str, Any]:
    """Return the schema of a tool's arguments, which are always an object."""
    if not isinstance(node, Entries):
        faults.add(
            node.line, at, "a JSON schema belongs here", "write `type: object` and `properties:` below this line"
        )
        return NO_ARGUMENTS
    kind = node.nodes.get("type")
    if not isinstance(kind, Scalar) or kind.text != "object":
        faults.add(node.lines.get("type", node.line), f"{at}.type", "arguments are an object", "write `type: object`")
    _check(node, at, faults)
    schema: dict[str, Any] = value(node)
    return schema


def value(node: Node) -> Any:  # noqa: ANN401 - any value of JSON
    """Return what a node means in JSON: YAML 1.2's core types, so that `no` is a text and `1` a number."""
    if isinstance(node, Entries):
        return {key: value(item) for key, item in node.nodes.items()}
    if isinstance(node, Items):
        return [value(item) for item in node.nodes]
    if node.quoted:
        return node.text
    if node.text in _CONSTANTS:
        return _CONSTANTS[node.text]
    if re.fullmatch(r"-?\d+", node.text):
        return int(node.text)
    return float(node.text) if re.fullmatch(r"-?\d+\.\d+", node.text) else node.text


def _check(node: Node, at: str, faults: Faults) -> None:
    """Note what is wrong with a schema and with those inside it."""
    if not isinstance(node, Entries):
        faults.add(node.line, at, "a JSON schema belongs here", "write e.g. `{type: string}`")
        return
    for key in node.nodes:
        if key not in KEYWORDS:
            faults.add(node.lines[key], f"{at}.{key}", "this is no keyword of a schema", instead(key, KEYWORDS))
    _check_type(node, at, faults)
    _check_required(node, at, faults)
    _check_enum(node, at, faults)
    _check_pattern(node, at, faults)
    for inner, where in _inner(node, at, faults):
        _check(inner, where, faults)


def _inner(node: Entries, at: str, faults: Faults) -> list[tuple[Node, str]]:
    """Return the schemas inside a schema, and the way to each."""
    found: list[tuple[Node, str]] = []
    properties = node.nodes.get("properties")
    if isinstance(properties, Entries):
        found += [(item, f"{at}.properties.{name}") for name, item in properties.nodes.items()]
    elif properties is not None:
        faults.add(properties.line, f"{at}.properties", "a group belongs here", "write `name: {type: string}` lines")
    if "items" in node.nodes:
        found.append((node.nodes["items"], f"{at}.items"))
    others = node.nodes.get("additionalProperties")
    if others is not None and not isinstance(value(others), bool):
        found.append((others, f"{at}.additionalProperties"))
    either = node.nodes.get("anyOf")
    if isinstance(either, Items):
        found += [(item, f"{at}.anyOf[{place}]") for place, item in enumerate(either.nodes, start=1)]
    elif either is not None:
        faults.add(either.line, f"{at}.anyOf", "a list of schemas belongs here", "begin each of them with `- `")
    return found


def _check_type(node: Entries, at: str, faults: Faults) -> None:
    if not {"type", "enum", "const", "anyOf"} & set(node.nodes):
        faults.add(node.line, at, "it says nothing about its type", f"add `type:` {', '.join(TYPES)}")
        return
    named = node.nodes.get("type")
    words = named.nodes if isinstance(named, Items) else (named,) if named is not None else ()
    for word in words:
        said = word.text if isinstance(word, Scalar) else ""
        if said not in TYPES:
            faults.add(word.line, f"{at}.type", f"`{said}` is no type of JSON", instead(said, TYPES))
        if said == "array" and "items" not in node.nodes:
            faults.add(node.line, at, "it does not say what the array holds", "add `items: {type: string}`")


def _check_required(node: Entries, at: str, faults: Faults) -> None:
    required = node.nodes.get("required")
    if required is None:
        return
    properties = node.nodes.get("properties")
    known = list(properties.nodes) if isinstance(properties, Entries) else []
    if not isinstance(required, Items):
        faults.add(required.line, f"{at}.required", "a list of names belongs here", "write `required: [one, another]`")
        return
    for word in required.nodes:
        said = word.text if isinstance(word, Scalar) else ""
        if said not in known:
            remedy = instead(said, known) if known else "add it below `properties`"
            faults.add(word.line, f"{at}.required", f"`{said}` is none of the properties", remedy)


def _check_enum(node: Entries, at: str, faults: Faults) -> None:
    enum = node.nodes.get("enum")
    if enum is not None and not (isinstance(enum, Items) and enum.nodes):
        faults.add(enum.line, f"{at}.enum", "a list of values belongs here", "write `enum: [one, another]`")


def _check_pattern(node: Entries, at: str, faults: Faults) -> None:
    written = node.nodes.get("pattern")
    if written is None:
        return
    where = f"{at}.pattern"
    if not isinstance(written, Scalar):
        faults.add(written.line, where, "a regular expression belongs here", "write it in single quotes")
        return
    try:
        pattern.check(written.text)
    except ValueError as error:
        remedy = "write it without look-around and back-references, which a caller's words could make slow"
        faults.add(written.line, where, f"this pattern cannot be used: {error}", remedy)

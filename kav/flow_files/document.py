"""A flow file as nodes that know their line.

Every scalar stays the text that was written: YAML 1.1 would read `no` as false, `08:00` as the number 480 and
`+972312345678` as an integer. What a text means is decided by the field that it stands in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import yaml

from kav.flow_files.faults import Faults


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text; `quoted` tells `"no"` from `no`. `line` counts from 1, here and below."""

    text: str
    line: int
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    nodes: "tuple[Node, ...]"
    line: int


@dataclass(frozen=True, slots=True)
class Entries:
    """Keys and values; `lines` are those of the keys."""

    nodes: "Mapping[str, Node]"
    lines: Mapping[str, int]
    line: int


Node = Scalar | Items | Entries


MOST_BRACKETS: Final = 2000
"""Of [ and { in one file: a parser's time grows with their square, and no business has so many lists."""


class _Mark(Protocol):
    """PyYAML's place in a file, from its Python or its C parser; `line` counts from 0."""

    @property
    def line(self) -> int: ...


_REMEDIES: Final = {
    "mapping values are not allowed": 'put a text that contains a colon into quotes: ask: "..."',
    "'\\t'": "indent with spaces, not with tabs",
    "expected <block end>": 'check the indentation, and write a quotation mark within "..." as \\"',
    "but got '?'": 'within { } or [ ], put a text with a question mark into quotes: {he: "..."}',
    "expected ',' or": "close the list with ], and put commas between its items",
    "unexpected end of stream": 'close the quotes; a quotation mark within "..." is written as \\"',
    "could not find expected ':'": "write `key: value`, and indent a text that goes on below deeper than its key",
    "cannot start any token": "put a text that begins with this character into quotes",
    "expected a single document": "one file holds one flow: move what follows `---` to a file of its own",
}
"""What PyYAML says -> what to do."""


def read_document(data: bytes, faults: Faults) -> Entries | None:
    """Return the file's keys and values, or None after noting why it cannot be read."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        faults.add(line, "", "this is not UTF-8 text", "save the file as UTF-8")
        return None
    if text.count("[") + text.count("{") > MOST_BRACKETS:
        remedy = "write lists and groups with indentation, a line for each entry"
        faults.add(1, "", f"there are more than {MOST_BRACKETS} brackets in this file", remedy)
        return None
    try:
        if _has_references(text, faults):
            return None
        root = yaml.compose(text, Loader=yaml.BaseLoader)
        if isinstance(root, yaml.MappingNode):
            return _entries(root, faults)
    except (yaml.YAMLError, RecursionError) as error:  # the latter: a thousand brackets, one within another
        faults.add(_line(error, text), "", f"this is not YAML: {_problem(error)}", _remedy(error))
        return None
    faults.add(1, "", "there is no flow in this file", "begin with `id: ...` and `business: ...` (docs/flows.md)")
    return None


def _has_references(text: str, faults: Faults) -> bool:
    """Note tags and aliases, which make a file mean something else than what is read in it."""
    for event in yaml.parse(text, Loader=yaml.BaseLoader):
        tag = getattr(event, "tag", None)
        if isinstance(event, yaml.AliasEvent):
            what = f"`*{event.anchor}` points elsewhere"
        elif tag:
            what = f"`{tag}` is a YAML tag"
        else:
            continue
        faults.add(_row(event.start_mark), "", what, "write the value out, or put the text into quotes")
    return bool(faults.found)


def _node(node: yaml.Node, faults: Faults) -> Node:
    if isinstance(node, yaml.MappingNode):
        return _entries(node, faults)
    line = _row(node.start_mark)
    if isinstance(node, yaml.SequenceNode):
        return Items(tuple(_node(item, faults) for item in node.value), line)
    return Scalar(node.value, line, quoted=isinstance(node, yaml.ScalarNode) and node.style is not None)


def _entries(node: yaml.MappingNode, faults: Faults) -> Entries:
    nodes: dict[str, Node] = {}
    lines: dict[str, int] = {}
    for key, value in node.value:
        line = _row(key.start_mark)
        if not isinstance(key, yaml.ScalarNode):
            faults.add(line, "", "a list or a group stands where a key is expected", "write `key: value`")
        elif key.value in nodes:
            faults.add(line, key.value, f"it stands in line {lines[key.value]} already", "keep one of the two")
        else:
            nodes[key.value], lines[key.value] = _node(value, faults), line
    return Entries(nodes, lines, _row(node.start_mark))


def _row(mark: _Mark | None) -> int:
    """Return the line of a place in the file, from 1."""
    return mark.line + 1 if mark else 1


def _line(error: Exception, text: str) -> int:
    if isinstance(error, yaml.MarkedYAMLError):
        unclosed = error.problem == "found unexpected end of stream"  # it began where the quotes were opened
        return _row(error.context_mark if unclosed else error.problem_mark)
    return text.count("\n", 0, getattr(error, "position", 0)) + 1


def _problem(error: Exception) -> str:
    return str(getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read")


def _remedy(error: Exception) -> str:
    said = str(error)
    found = (remedy for problem, remedy in _REMEDIES.items() if problem in said)
    return next(found, "check the indentation and the quotes around this line")

"""One group of a flow file (`key: value` lines), read key by key.

A reader asks for the keys that it knows; whatever nobody asked for is reported by `finish`. A value that is wrong is
noted and stands in for itself, so that one fault does not bring others with it.
"""

from collections.abc import Sequence
from typing import Final

from kav.flow_files.document import Entries, Items, Node, Scalar
from kav.flow_files.faults import Faults, instead

_FLAGS: Final = {
    **dict.fromkeys(("true", "yes", "on"), True),
    **dict.fromkeys(("false", "no", "off"), False),
}
_NOTHING: Final = ("", "~", "null")


class Section:
    """A group's keys, with the way to it (`at`, e.g. `steps[city]`; empty for the whole file)."""

    def __init__(self, entries: Entries, at: str, faults: Faults) -> None:
        self.entries = entries
        self.at = at
        self.faults = faults
        self._asked: dict[str, None] = {}

    def path(self, key: str) -> str:
        """Return the way to a key from the top of the file."""
        return f"{self.at}.{key}" if self.at else key

    def line(self, key: str) -> int:
        """Return the line of a key, or of the group when the key is not there."""
        return self.entries.lines.get(key, self.entries.line)

    def fault(self, key: str, what: str, remedy: str, line: int = 0) -> None:
        """Note a fault of one key, at `line` or where the key stands."""
        self.faults.add(line or self.line(key), self.path(key), what, remedy)

    def has(self, key: str) -> bool:
        """Say whether a key is there."""
        return key in self.entries.nodes

    def node(self, key: str) -> Node | None:
        """Return what stands under a key, if anything; the key counts as known from now on."""
        self._asked[key] = None
        node = self.entries.nodes.get(key)
        if isinstance(node, Scalar) and not node.quoted and node.text in _NOTHING:
            self.fault(key, "nothing stands here", "write a value, or delete the line")
            return None
        return node

    def require(self, key: str, remedy: str) -> bool:
        """Say whether a key is there, and note it when it is not."""
        if not self.has(key):
            self._asked[key] = None
            self.fault(key, "it is missing", remedy)
        return self.has(key)

    def scalar(self, key: str) -> Scalar | None:
        """Return a single value, or None when there is none."""
        node = self.node(key)
        if node is None or isinstance(node, Scalar):
            return node
        self.fault(key, "one value belongs here, not a list or a group", f"write `{key}: ...` in one line")
        return None

    def text(self, key: str, default: str = "") -> str:
        """Return a text as it was written, without the spaces around it."""
        found = self.scalar(key)
        return found.text.strip() if found else default

    def one_of(self, key: str, allowed: Sequence[str], default: str) -> str:
        """Return one of a few words."""
        word = self.text(key, default)
        if word in allowed:
            return word
        self.fault(key, f"`{word}` is not possible here", instead(word, allowed))
        return default

    def flag(self, key: str) -> bool:
        """Return true or false; false when the key is not there."""
        word = self.text(key, "false")
        if word.lower() not in _FLAGS:
            self.fault(key, f"`{word}` is neither true nor false", "write true or false")
        return _FLAGS.get(word.lower(), False)

    def number(self, key: str, lowest: float, highest: float, default: float) -> float:
        """Return a number between two bounds, both included."""
        word = self.text(key, str(default))
        try:
            value = float(word)
        except ValueError:
            value = float("nan")
        if lowest <= value <= highest:
            return value
        self.fault(key, f"`{word}` is not possible here", f"write a number from {lowest:g} to {highest:g}")
        return default

    def whole(self, key: str, lowest: int, highest: int, default: int) -> int:
        """Return a whole number between two bounds, both included."""
        value = self.number(key, lowest, highest, default)
        if value != int(value):
            self.fault(key, f"`{value:g}` is not possible here", f"write a whole number from {lowest} to {highest}")
        return int(value)

    def words(self, key: str) -> tuple[Scalar, ...]:
        """Return a list of texts; a single text counts as a list of one."""
        node = self.node(key)
        if isinstance(node, Scalar):
            return (node,)
        if isinstance(node, Items) and all(isinstance(item, Scalar) and item.text.strip() for item in node.nodes):
            return tuple(item for item in node.nodes if isinstance(item, Scalar))
        if node is not None:
            self.fault(key, "a list of texts belongs here", f"write `{key}: [one, another]`")
        return ()

    def section(self, key: str) -> "Section | None":
        """Return the group under a key, if there is one."""
        node = self.node(key)
        if isinstance(node, Entries):
            return Section(node, self.path(key), self.faults)
        if node is not None:
            self.fault(key, "`key: value` lines belong here", "indent them below this line")
        return None

    def sections(self, key: str) -> "tuple[Section, ...]":
        """Return the groups of a list, each named by its `id` or `name` when it has one, else by its place."""
        node = self.node(key)
        if node is None:
            return ()
        if not isinstance(node, Items) or not all(isinstance(item, Entries) for item in node.nodes):
            self.fault(key, "a list of groups belongs here", "begin each of them with `- ` and indent its keys")
            return ()
        groups = [item for item in node.nodes if isinstance(item, Entries)]
        return tuple(
            Section(group, f"{self.path(key)}[{_name(group) or place}]", self.faults)
            for place, group in enumerate(groups, start=1)
        )

    def finish(self) -> None:
        """Note every key that nobody asked for."""
        for key in self.entries.nodes:
            if key not in self._asked:
                self.fault(key, "there is no such key", instead(key, self._asked))


def _name(group: Entries) -> str:
    named = group.nodes.get("id") or group.nodes.get("name")
    return named.text.strip() if isinstance(named, Scalar) else ""

"""What is wrong with a flow file, said so that it can be put right: file, line, field, what is wrong, remedy.

ValueError
└── FlowFileError    one or more files cannot be used; `faults` holds every fault of every file, not the first only
"""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong. `line` counts from 1; `field` is the way to it, e.g. `steps[city].ask`."""

    file: str
    line: int
    field: str
    what: str
    remedy: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: {self.field}" if self.field else f"{self.file}:{self.line}"
        return f"{where}: {self.what}; {self.remedy}."


class FlowFileError(ValueError):
    """Flow files that cannot be used; the message has a line for each fault."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class Faults:
    """Collects what is wrong with one file while it is read to its end."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: list[Fault] = []

    def add(self, line: int, field: str, what: str, remedy: str) -> None:
        """Note one fault."""
        self.found.append(Fault(self.file, line, field, what, remedy))

    def in_order(self) -> tuple[Fault, ...]:
        """Return the faults as one reads the file: from its first line to its last."""
        once = dict.fromkeys(self.found)  # a key that is read twice is wrong once
        return tuple(sorted(once, key=lambda fault: fault.line))


def instead(said: str, allowed: Iterable[str]) -> str:
    """Return a remedy for a word that is none of `allowed`: the one that was meant, if one is close, or all of them."""
    words = list(allowed)
    close = get_close_matches(said.lower(), words, n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`" if close else f"use one of: {', '.join(words)}"

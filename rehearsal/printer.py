"""The conversation in a terminal: who says what and when, then a verdict a line."""

import sys
from collections.abc import Iterable
from pathlib import Path
from textwrap import wrap
from typing import TextIO

from rehearsal.scenario import Scenario
from rehearsal.verdict import Verdict
from rehearsal.witness import Happening, Who

WIDTH = 100
_NAMES: dict[Who, str] = {
    "kav": "Kav",
    "caller": "caller",
    "twilio": "Twilio",
    "line": "line",
    "model": "model",
    "note": "",
}
_COLOURS = {"kav": "36", "caller": "33", "twilio": "35", "line": "2", "model": "31", "note": "2"}
_DIM, _BOLD, _GREEN, _RED = "2", "1", "32", "1;31"


class Printer:
    """Prints one call, or keeps its lines until `flush` so that calls that are played at once stay apart."""

    def __init__(self, out: TextIO, *, colour: bool, at_once: bool = True) -> None:
        self._out, self._colour, self._at_once = out, colour, at_once
        self._kept: list[str] = []

    def begin(self, scenario: Scenario) -> None:
        """The title."""
        title = f"Hand test {scenario.hand_test}: {scenario.title}" if scenario.hand_test else scenario.title
        rule = "─" * max(3, WIDTH - len(title) - 4)
        self._print(f"{self._dim('──')} {self._in(title, _BOLD)} {self._dim(rule)}")
        for line in wrap(scenario.tells, WIDTH - 3):
            self._print(f"   {self._dim(line)}")
        self._print()

    def tell(self, happening: Happening) -> None:
        """One line of the conversation."""
        colour = _COLOURS[happening.who]
        name = self._in(f"{_NAMES[happening.who]:<7}", colour)
        text = happening.text if happening.spoken else self._in(_aside(happening), _DIM)
        self._print(f"  {self._dim(f'{happening.at_s:6.2f}')}  {name} {text}")

    def end(self, verdicts: Iterable[Verdict], recording: Path, log: Iterable[str] = ()) -> None:
        """The verdicts, the recording, and what Kav's log says of a call that went wrong."""
        self._print()
        for verdict in verdicts:
            self._verdict(verdict)
        self._print(f"\n  {self._dim('listen')}  {recording}  {self._dim('(left: the caller, right: what they hear)')}")
        for line in log:
            self._print(f"  {self._dim('log')}     {line}")
        self._print()

    def flush(self) -> None:
        """Print what was kept."""
        for line in self._kept:
            print(line, file=self._out, flush=True)
        self._kept.clear()

    def _verdict(self, verdict: Verdict) -> None:
        if verdict.ok:
            figure = self._dim(f"  {verdict.figure}") if verdict.figure else ""
            self._print(f"  {self._in('ok', _GREEN)}  {verdict.expected}{figure}")
        elif verdict.ok is None:
            self._print(f"  {self._dim('--')}  {verdict.expected}\n      not looked at: {verdict.seen}")
        else:
            self._print(f"  {self._in('!!', _RED)}  expected: {verdict.expected}\n      seen:     {verdict.seen}")

    def _print(self, line: str = "") -> None:
        self._kept.append(line)
        if self._at_once:
            self.flush()

    def _dim(self, text: str) -> str:
        return self._in(text, _DIM)

    def _in(self, text: str, colour: str) -> str:
        return f"\033[{colour}m{text}\033[0m" if self._colour else text


def in_colour(out: TextIO, environment: dict[str, str]) -> bool:
    """Whether this terminal wants colours (no-color.org)."""
    return out.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def to_terminal(environment: dict[str, str], *, at_once: bool = True) -> Printer:
    """A printer on standard output."""
    return Printer(sys.stdout, colour=in_colour(sys.stdout, environment), at_once=at_once)


def _aside(happening: Happening) -> str:
    return f"~ {happening.text}" if happening.who == "note" else f"({happening.text})"

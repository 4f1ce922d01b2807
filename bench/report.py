"""What a bench prints: tables, and a verdict a line."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Target:
    """A figure that was promised. `limit` None: the figure is told, and nothing is promised."""

    name: str
    value: float
    limit: float
    unit: str = "ms"
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        return f"{'ok' if self.met else '!!'}  {self.name}: {self.value:.4g} {self.unit} ({sign} {self.limit:g})"


@dataclass(slots=True)
class Report:
    """One part's result."""

    part: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)

    @property
    def met(self) -> bool:
        return all(target.met for target in self.targets)

    def promise(self, name: str, value: float, limit: float, unit: str = "ms", *, at_least: bool = False) -> None:
        self.targets.append(Target(name, value, limit, unit, at_least))

    def as_json(self) -> dict[str, Any]:
        targets = [{**asdict(target), "met": target.met} for target in self.targets]
        return {"part": self.part, "rows": self.rows, "targets": targets}

    def print(self) -> None:
        for target in self.targets:
            print(target)
        print(flush=True)


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value below which `share` (0..1) of `values` lie: nearest rank; NaN of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))] if ordered else math.nan


def spread_ms(values: Sequence[float]) -> dict[str, Any]:
    """Return count, p50, p99 and max of seconds, in milliseconds."""
    figures = {"p50": percentile(values, 0.5), "p99": percentile(values, 0.99), "max": max(values, default=math.nan)}
    return {"n": len(values), **{name: round(value * 1000, 2) for name, value in figures.items()}}


class Table:
    """Prints rows as they come, under one heading; rows are dicts with the same keys."""

    def __init__(self, report: Report, title: str) -> None:
        self._report = report
        self._title = title
        self._widths: list[int] = []

    def row(self, **cells: object) -> None:
        texts = [f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells.values()]
        if not self._widths:
            self._widths = [max(len(name), len(text), 7) for name, text in zip(cells, texts, strict=True)]
            print(f"\n{self._title}")
            print("  ".join(name.ljust(width) for name, width in zip(cells, self._widths, strict=True)))
        print("  ".join(text.ljust(width) for text, width in zip(texts, self._widths, strict=True)), flush=True)
        self._report.rows.append({"table": self._title, **cells})

"""What was measured, as plain data, and the arithmetic on it. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: its figure (a rate, a time, a size) and, where it is known, the CPU time in seconds a task."""

    value: float
    cpu: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One of those that were measured in turn: its figure of each round.

    `compare` names two rows of the group; the table has their ratio (or difference) in this row. `note` says what is
    particular to it.
    """

    name: str
    values: list[float]
    cpu: list[float] = field(default_factory=list)
    compare: tuple[str, str] | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that were measured in turn, in one unit: "/s", "ms" or "MB"."""

    title: str
    unit: str
    rows: list[Row]
    comparison: str
    """The heading of the comparisons: what each row's figure there says."""
    difference: bool = False
    """Compare by differences instead of ratios: sizes."""

    def values(self, name: str) -> list[float]:
        """Raises KeyError."""
        return {row.name: row.values for row in self.rows}[name]

    def compared(self, row: Row) -> float | None:
        """The median of the rounds' ratios (or differences); None where there is nothing to compare."""
        if row.compare is None:
            return None
        ours, theirs = (self.values(name) for name in row.compare)
        pairs = zip(ours, theirs, strict=True)
        return median(a - b if self.difference else a / b for a, b in pairs)


def group_from(data: dict[str, Any]) -> Group:
    """Return what `dataclasses.asdict` made plain, and JSON kept."""
    rows = [Row(**row | {"compare": tuple(row["compare"]) if row["compare"] else None}) for row in data["rows"]]
    return Group(**data | {"rows": rows})


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least so many percent of all don't exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * percent / 100) - 1, 0)]

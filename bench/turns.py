"""Taking turns: whatever else the machine does, it does to everybody alike."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.figures import Group, Row, Sample

ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured; `quick`: a tenth of everything, to see that it works."""

    quick: bool = False

    def of(self, count: int) -> int:
        return count // 10 if self.quick else count


@dataclass(frozen=True, slots=True)
class Turn:
    """What is run when a row's turn has come, what the row is compared with, and what is particular to it."""

    run: Callable[[], Sample]
    note: str = ""
    before: str = ""
    """The row that this one is compared with."""
    ours: str | None = None
    """The row that is compared with this one, where it is not the group's; empty: none."""


def in_turn(runs: Mapping[str, Callable[[], Sample]], rounds: int = ROUNDS) -> dict[str, list[Sample]]:
    """Run A B C A B C ... and return each one's samples, a round's at the same place."""
    samples: defaultdict[str, list[Sample]] = defaultdict(list)
    for number in range(rounds):
        for name, run in runs.items():
            samples[name].append(run())
            print(f"  {number + 1}/{rounds}  {name:40} {samples[name][-1].value:>10,.1f}", file=sys.stderr, flush=True)
    return samples


def measured(
    title: str,
    unit: str,
    turns: Mapping[str, Turn],
    ours: str = "",
    rounds: int = ROUNDS,
    *,
    heading: str = "",
    difference: bool = False,
) -> Group:
    """Run the rows of a group in turn. With `ours`, that row is compared with every other."""
    print(f" {title}, {unit}", file=sys.stderr, flush=True)
    samples = in_turn({name: turn.run for name, turn in turns.items()}, rounds)
    rows = []
    for name, turn in turns.items():
        cpu = [sample.cpu for sample in samples[name] if sample.cpu is not None]
        to_it = ours if turn.ours is None else turn.ours
        compare = (name, turn.before) if turn.before else (to_it, name) if to_it not in ("", name) else None
        rows.append(Row(name, [sample.value for sample in samples[name]], cpu, compare, turn.note))
    return Group(title, unit, rows, heading or f"{ours} to it", difference)

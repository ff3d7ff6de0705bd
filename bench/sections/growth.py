"""What comes of more workers on one queue, and of a larger prefetch."""

from __future__ import annotations

from functools import partial

from bench import bodies
from bench.broker import Broker
from bench.figures import Group, Sample
from bench.sections.calls import PREFETCH, rqtool
from bench.turns import Size, Turn, measured
from bench.workers import rate_together

QUEUE = "bench-growth"
WORKERS = (1, 2, 4, 8)
PREFETCHES = (1, 10, 100, 1_000)


def measure(broker: Broker, size: Size) -> list[Group]:
    """All workers together; with one worker for the prefetches."""
    count = size.of(20_000)

    def together(workers: int, prefetch: int) -> Sample:
        return rate_together(broker, [rqtool(QUEUE, prefetch)] * workers, QUEUE, list(bodies.short(count)))

    workers = {_plural(number): partial(together, number, PREFETCH) for number in WORKERS}
    prefetches = {f"prefetch {number:,}": partial(together, 1, number) for number in PREFETCHES}
    title = f"{count:,} tasks that do nothing"
    heading = "to the row before"
    return [
        measured(f"{title}, more workers", "/s", _steps(workers), heading=heading),
        measured(f"{title}, one worker", "/s", _steps(prefetches), heading=heading),
    ]


def _steps(runs: dict[str, partial[Sample]]) -> dict[str, Turn]:
    """Each is compared with the one before."""
    before = ["", *runs]
    return {name: Turn(run, before=last) for (name, run), last in zip(runs.items(), before, strict=False)}


def _plural(workers: int) -> str:
    return "1 worker" if workers == 1 else f"{workers} workers"

"""The text of a worker's progress line. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import ceil

from rqtool.durations import clock
from rqtool.work.report.tally import rate

RATE_SECONDS, ETA_SECONDS = 10.0, 30.0
"""Seconds over which the rates of this worker, and of the whole queue, are measured."""
SHORTEST, LONGEST = 8, 40
"""Characters of the bar itself."""


@dataclass(frozen=True, slots=True)
class Figures:
    """`left`: tasks that may begin, None: not known yet. `pause`: for how many seconds none may begin. `waiting`:
    failed tasks that wait for their next attempt.
    """

    done: int
    failed: int
    running: int
    left: int | None
    pause: float = 0.0
    waiting: int = 0


class Trend:
    """How much a figure has changed per second in the last `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, now: float, figure: int) -> float:
        """Returns the change per second, 0 if too little is known."""
        self._seen.append((now, figure))
        while len(self._seen) > 2 and self._seen[1][0] <= now - self._seconds:
            self._seen.popleft()
        then, before = self._seen[0]
        return (figure - before) / (now - then) if now - then >= 1 else 0.0


class Bar:
    """Makes a line for each set of figures. The ETA comes from how fast the queue empties, thanks to other workers too;
    the bar compares the queue with its longest length so far.
    """

    def __init__(self) -> None:
        self._done = Trend(RATE_SECONDS)
        self._left = Trend(ETA_SECONDS)
        self._most = 0

    def line(self, figures: Figures, now: float, width: int) -> str:
        """Return at most `width` characters."""
        per_second = self._done.add(now, figures.done)
        parts = [f"{figures.done:,} done", f"{figures.failed:,} failed", f"{figures.running:,} running"]
        parts += [f"paused for {_rounded(ceil(figures.pause))}" if figures.pause else rate(per_second, 1.0) or "0/s"]
        if figures.left is None:
            parts += ["? left", "ETA ?"]
            return ", ".join(parts)[:width]
        to_begin = figures.left + figures.waiting
        emptying = -self._left.add(now, to_begin)
        # How long the last ones run, or wait, their number does not tell.
        held_up = figures.pause or (not figures.left and (figures.waiting or figures.running))
        eta = to_begin / emptying if emptying > 0 and not held_up else None
        parts += [f"{figures.left:,} left"] + ([f"{figures.waiting:,} to retry"] if figures.waiting else [])
        parts += [f"ETA {'?' if eta is None else _rounded(eta)}"]
        text = ", ".join(parts)
        there = to_begin + figures.running
        self._most = max(self._most, there) if there else 0
        size = min(width - len(text) - 3, LONGEST)
        if size >= SHORTEST and self._most:
            gone = size * (self._most - there) // self._most
            text = f"[{'#' * gone}{'.' * (size - gone)}] {text}"
        return text[:width]


def _rounded(seconds: float) -> str:
    return f"{round(seconds)}s" if seconds < 59.5 else clock(seconds)

"""Where a runner works: how many there are, and for how many tasks each."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass

from rqtool.run.lane import Lane
from rqtool.run.runner import Runner


@dataclass(eq=False, slots=True)
class Seat:
    """A lane, and the runner that works on it; None: it is being started or ended, or nobody has asked for it yet."""

    lane: Lane
    runner: Runner | None = None
    is_changing: bool = False
    is_slow: bool = False
    """Whether nothing is to wait behind what is at work."""
    since: float = 0.0
    """When the last answer came, or, after a pause, the first task."""
    _again: asyncio.TimerHandle | None = None

    def try_again(self, seconds: float, act: Callable[[Seat], None]) -> None:
        """Call `act` once, so many seconds from now."""
        if self._again is not None:
            self._again.cancel()
        self._again = asyncio.get_running_loop().call_later(seconds, act, self)


def seats_of_commands(jobs: int) -> list[Seat]:
    """As many as there are processors, each for its share of the jobs."""
    number = min(jobs, _processors())
    return [Seat(Lane(jobs // number + (n < jobs % number))) for n in range(number)]


def seats_of_function(jobs: int, *, is_async: bool) -> list[Seat]:
    """One for all jobs of an async function, else one for each."""
    return [Seat(Lane(jobs))] if is_async else [Seat(Lane(1)) for _ in range(jobs)]


def _processors() -> int:
    """Return how many this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1

"""How long to go on without progress. Pure, but for the clock."""

from __future__ import annotations

import time
from collections.abc import Callable

GIVE_UP = 30.0
"""Seconds, if the user gave none."""
SHORTEST_TRY = 1.0
"""Seconds that a try to connect gets, however little time is left."""


class Timeout:
    """Runs out `seconds` after the last restart."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self.restart()

    def restart(self) -> None:
        self._until = self._clock() + self._seconds

    @property
    def left(self) -> float:
        """Seconds, never below 0."""
        return max(0.0, self._until - self._clock())

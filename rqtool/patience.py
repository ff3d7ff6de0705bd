"""How long to go on without progress. Pure, but for the clock it is given."""

from __future__ import annotations

import time
from collections.abc import Callable

ANSWER_SECONDS = 5.0
"""What a broker that has just come back gets to confirm something."""


class Patience:
    """Runs out `seconds` after the last progress."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until = clock() + seconds
        self._granted = False

    def renew(self) -> None:
        """There was progress, or there was nothing to do."""
        self._until = self._clock() + self._seconds
        self._granted = False

    def grant(self) -> None:
        """The broker is back: leave it ANSWER_SECONDS, once between two signs of progress, so that one that takes
        connections and nothing else does not hold us for ever.
        """
        if not self._granted:
            self._granted = True
            self._until = max(self._until, self._clock() + min(ANSWER_SECONDS, self._seconds))

    @property
    def left(self) -> float:
        """Seconds, never below 0."""
        return max(0.0, self._until - self._clock())

"""How long to go on without progress, and without an answer. Pure, but for the clock they are given."""

from __future__ import annotations

import time
from collections.abc import Callable

from rqtool.amqp.window import ANSWER_SECONDS, SLOWEST

GIVE_UP = 30.0
SHORTEST_TRY = 1.0
"""Seconds that a try to connect gets, however little patience is left."""


class GaveUp(Exception):
    """No further tries; the text says why."""


class QueueGone(GaveUp):
    """The queue went, and took along what was confirmed."""


class Patience:
    """Runs out `seconds` after the last progress."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until = clock() + seconds

    def renew(self) -> None:
        """There was progress, or there was nothing to do."""
        self._until = self._clock() + self._seconds

    @property
    def left(self) -> float:
        """Seconds, never below 0."""
        return max(0.0, self._until - self._clock())


class Silence:
    """How long a connection that owes us answers may stay silent.

    A frozen peer, or a quorum queue that found no leader while we published (RabbitMQ 3.10 after a crash), stays silent
    for ever; a new channel gets an answer.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()

    def heard(self) -> None:
        """There was an answer, or none was owed."""
        self._last = self._clock()

    def left(self, size: int) -> float:
        """Seconds, never below 0, with `size` bytes on their way."""
        return max(0.0, self._last + ANSWER_SECONDS + size / SLOWEST - self._clock())

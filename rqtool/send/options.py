"""What the flags of `send` say, as plain data, and how long to go on without progress."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rqtool.amqp.message import Envelope
from rqtool.amqp.publisher import Guarantee
from rqtool.topology import QueueType

GIVE_UP = 30.0
"""Seconds, if the user gave none."""
SHORTEST_TRY = 1.0
"""Seconds that a try to connect gets, however little time is left."""


@dataclass(frozen=True, slots=True)
class SendOptions:
    """Durations in seconds.

    `delay`: whole seconds that each task waits; `at`: the time until which it waits, in seconds since 1970.

    `give_up` None: GIVE_UP for a broker that went away, and a single try for one that was never there.
    """

    queue: str
    kind: QueueType | None = None
    guarantee: Guarantee = "confirm"
    envelope: Envelope = field(default_factory=Envelope)
    skip: int = 0
    accept_loss: bool = False
    give_up: float | None = None
    delay: int = 0
    at: float | None = None


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

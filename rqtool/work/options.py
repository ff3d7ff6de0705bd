"""What the flags of `work` say, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

from rqtool.amqp.topology import QueueType
from rqtool.work.retry import Delay

MOST_PREFETCH = 65_535
"""AMQP counts it in 16 bits."""


@dataclass(frozen=True, slots=True)
class WorkOptions:
    """`grace` in seconds, None: without end."""

    queue: str
    retry_delays: tuple[Delay, ...]
    kind: QueueType | None = None
    jobs: int = 1
    prefetch: int | None = None
    max_tasks: int | None = None
    drain: bool = False
    grace: float | None = None
    accept_loss: bool = False

    @property
    def most_unacknowledged(self) -> int:
        """What the broker hands out at once, to begin with."""
        prefetch = self.prefetch or self.jobs
        return prefetch if self.max_tasks is None else min(prefetch, self.max_tasks)

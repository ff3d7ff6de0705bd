"""The options of `work`, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rqtool.topology import Destination, QueueType, sibling_queues
from rqtool.work.brake import FIRST, LONGEST
from rqtool.work.retry import Delay

MOST_PREFETCH = 65_535
"""AMQP counts it in 16 bits."""


@dataclass(frozen=True, slots=True)
class WorkOptions:
    """`grace` in seconds; None: no limit. `halt`: the failed attempts in a row that end the worker."""

    queue: str
    retry_delays: tuple[Delay, ...]
    kind: QueueType | None = None
    jobs: int = 1
    prefetch: int | None = None
    max_tasks: int | None = None
    drain: bool = False
    grace: float | None = None
    accept_loss: bool = False
    health_file: Path | None = None
    halt: int | None = None
    brake: bool = True
    bar: bool = False

    @property
    def longest_pause(self) -> float:
        """The longest pause between two probes while all tasks fail, in seconds. Users with short retry delays, or no
        retries, don't expect long outages, and more likely have a batch of bad tasks.
        """
        return min(max((delay.seconds for delay in self.retry_delays), default=FIRST), LONGEST)

    @property
    def places(self) -> list[Destination]:
        """The queues beside the worker's own."""
        return sibling_queues(self.queue, [(delay.name, delay.seconds) for delay in self.retry_delays])

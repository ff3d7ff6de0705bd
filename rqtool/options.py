"""What the flags of `send` and `work` say, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rqtool.broker.messages import Envelope
from rqtool.broker.publisher import Guarantee
from rqtool.broker.topology import QueueType

if TYPE_CHECKING:
    from rqtool.retry import Delay


MOST_PREFETCH = 65_535
"""AMQP counts it in 16 bits."""


@dataclass(frozen=True, slots=True)
class SendOptions:
    """What the flags of `send` say; durations in seconds.

    `give_up` None: GIVE_UP for a broker that went away, and a single try for one that was never there.
    """

    queue: str
    kind: QueueType | None = None
    guarantee: Guarantee = "confirm"
    envelope: Envelope = field(default_factory=Envelope)
    skip: int = 0
    accept_loss: bool = False
    give_up: float | None = None


@dataclass(frozen=True, slots=True)
class WorkOptions:
    """What the flags of `work` say; `grace` in seconds, None: without end."""

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

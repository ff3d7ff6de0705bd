"""What the flags of `send` and `work` say, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

from rqtool.broker.messages import Envelope
from rqtool.broker.publisher import Guarantee
from rqtool.broker.topology import QueueType
from rqtool.retry import DEFAULT_DELAYS, Delay, parse_delays


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
    give_up: float | None = None


@dataclass(frozen=True, slots=True)
class WorkOptions:
    """What the flags of `work` say; `grace` in seconds, None: without end."""

    queue: str
    kind: QueueType | None = None
    jobs: int = 1
    prefetch: int | None = None
    max_tasks: int | None = None
    drain: bool = False
    retry_delays: tuple[Delay, ...] = parse_delays(DEFAULT_DELAYS)
    grace: float | None = None

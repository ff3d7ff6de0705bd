"""What the flags of `send` say, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

from rqtool.amqp.message import Envelope
from rqtool.amqp.publisher import Guarantee
from rqtool.topology import QueueType


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

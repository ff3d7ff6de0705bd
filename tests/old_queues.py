"""Queues as rqtool makes them, made by another program: they count as old, and no test waits until they are."""

from __future__ import annotations

from rqtool.topology import QueueType, queue_arguments, sibling_arguments, sibling_queues
from rqtool.work.retry import DEFAULT_DELAYS, parse_delays
from tests.tools import Vhost


def declare_siblings(vhost: Vhost, queue: str, kind: QueueType | None = None, delays: str = DEFAULT_DELAYS) -> None:
    """The queues beside one that a worker with these --retry-delays needs."""
    for place in sibling_queues(queue, [(delay.name, delay.seconds) for delay in parse_delays(delays)]):
        vhost.declare(place.name, **sibling_arguments(place, kind))


def declare_all(vhost: Vhost, queue: str, kind: QueueType | None, delays: str = DEFAULT_DELAYS) -> None:
    """The queue itself, as `send --type KIND` makes it, and those beside it."""
    vhost.declare(queue, **queue_arguments(queue, kind))
    declare_siblings(vhost, queue, kind, delays)

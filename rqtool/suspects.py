"""Finding the task that kills its worker, without blaming those that were merely prefetched beside it.

The broker flags every task as redelivered that its dead worker held, begun or not
(https://www.rabbitmq.com/docs/consumers). So a flagged task is begun in a way that leaves a trace: a copy that counts
this start goes to a wait queue, confirmed; the original is acknowledged; and the copy is taken from there and held
unacknowledged while the task runs. If the worker dies, the copy's time is over and the broker sends it home, with its
count, to be begun in the same way. A task that was never begun never gets there.
"""

from __future__ import annotations

import asyncio
import time

from rqtool import headers
from rqtool.broker.connection import Lost
from rqtool.broker.consumer import Consumer, Delivery
from rqtool.broker.topology import STARTED_SECONDS, Place

MOST_STARTS = 3
"""Starts without a verdict, beside the first one, which nobody counted."""
MOST_RETURNS = 10
"""RabbitMQ 4 drops a task from a quorum queue after 20 deliveries unless told otherwise, merely prefetched ones
counted. A copy begins at 0 again."""
_LOOK_AGAIN = 0.02


def is_suspect(delivery: Delivery) -> bool:
    """Whether some worker may have died of this task."""
    return delivery.redelivered or headers.count(delivery.headers, headers.STARTS) > 0


def is_poison(delivery: Delivery) -> bool:
    return headers.count(delivery.headers, headers.STARTS) >= MOST_STARTS


def is_worn(delivery: Delivery) -> bool:
    """Whether the broker may soon drop the task for having been returned too often."""
    return headers.count(delivery.headers, "x-delivery-count") >= MOST_RETURNS


async def take_out(consumer: Consumer, place: Place, token: str) -> Delivery | None:
    """Take the copy with this token out of the wait queue; None where its time there was over.

    Others' copies may be before it, for a moment or because their worker died; they are put back. Raises Lost.
    """
    deadline = time.monotonic() + STARTED_SECONDS
    while time.monotonic() < deadline:
        others: list[Delivery] = []
        try:
            while (found := await consumer.get(place.name)) is not None:
                if found.copy_token == token:
                    return found
                others.append(found)
        except Lost:
            return None
        finally:
            for other in others:
                other.requeue()
        await asyncio.sleep(_LOOK_AGAIN)
    return None

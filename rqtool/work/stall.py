"""Consumers that the broker feeds no more: on RabbitMQ 3.10 those of a quorum queue that was deleted and made anew.

What comes into the new queue either stays ready, or is held for a consumer that never gets it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from rqtool.amqp.errors import Lost
from rqtool.work.subscription import Subscription

POLL = 3.0
"""Seconds between two looks."""
QUIET, LONGEST_QUIET = 15.0, 300.0
"""Seconds without a delivery before idle channels are replaced; twice as long each time."""


async def watch_for_a_stall(
    hungry: Callable[[], Subscription | None],
    idle: Callable[[], bool],
    received: Callable[[], int],
    say: Callable[[str], None],
) -> None:
    """Consume anew where tasks are ready and don't come, and from time to time where nothing comes. Never ends.

    `hungry` returns the subscription of a worker that has room and nothing waiting, else None; `idle`: nothing is in
    its hands; `received` counts its deliveries.
    """
    seen, since, quiet, stalled = -1, 0.0, QUIET, False
    while True:
        await asyncio.sleep(POLL)
        subscription = hungry()
        if subscription is None or received() != seen:
            seen, since, quiet, stalled = received(), time.monotonic(), QUIET, False
            continue
        with suppress(Lost):
            was_stalled, stalled = stalled, bool(await subscription.count_ready()) and received() == seen
            if stalled and was_stalled:
                say("the broker gives out no tasks though some are ready; consuming anew")
                await subscription.renew()
                stalled = False
            elif time.monotonic() - since > quiet and idle():
                await subscription.renew()
                since, quiet = time.monotonic(), min(2 * quiet, LONGEST_QUIET)

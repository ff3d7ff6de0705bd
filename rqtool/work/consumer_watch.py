"""Replaces consumers that the broker no longer serves: on RabbitMQ 3.10, those of a quorum queue that was deleted and
created again.

Messages in the new queue either stay ready, or are held for a consumer that never gets them.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from rqtool.amqp.errors import Lost
from rqtool.work.dispatch import Dispatcher
from rqtool.work.jobs import Jobs
from rqtool.work.report.events import Events
from rqtool.work.session import Session

POLL = 3.0
"""Seconds between two looks."""
QUIET, LONGEST_QUIET = 15.0, 300.0
"""Seconds without a delivery before idle channels are replaced; twice as long each time."""


async def watch_consumers(session: Session, jobs: Jobs, dispatcher: Dispatcher, events: Events) -> None:
    """Consume again if tasks are ready but don't arrive, and from time to time if nothing arrives. Never ends."""
    seen, since, quiet, stalled = -1, 0.0, QUIET, False
    while True:
        await asyncio.sleep(POLL)
        subscription = session.usable if dispatcher.is_hungry else None
        if subscription is None or jobs.received != seen:
            seen, since, quiet, stalled = jobs.received, time.monotonic(), QUIET, False
            continue
        with suppress(Lost):
            was_stalled, stalled = stalled, bool(await subscription.count_ready()) and jobs.received == seen
            stalled &= not subscription.has_single_consumer  # another worker may be the one
            if stalled and was_stalled:
                events.say("the broker gives out no tasks though some are ready; consuming anew")
                await subscription.renew()
                stalled = False
            elif time.monotonic() - since > quiet and jobs.idle:
                await subscription.renew()
                since, quiet = time.monotonic(), min(2 * quiet, LONGEST_QUIET)

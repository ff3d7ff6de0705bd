"""What policies do to the queues of a worker: only the management API tells, and only if it can be asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial

from rqtool.errors import AccessRefused, Unreachable
from rqtool.management.api import Management
from rqtool.management.in_thread import in_thread

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0
"""Seconds between looks; the API reports a queue's policy some seconds late, and it can change at any time."""


async def warn_of_policies(api: Management, vhost: str, queues: Collection[str], say: Callable[[str], None]) -> None:
    """Say once of each queue whose policy lets it drop tasks. Never ends."""
    told: set[str] = set()
    pause = FIRST_PAUSE
    while True:
        await asyncio.sleep(pause)
        pause = min(5 * pause, LONGEST_PAUSE)
        with suppress(Unreachable, AccessRefused):
            for queue in await in_thread(partial(api.reported, vhost, queues)):
                policies = [drop for drop in queue.drops if drop.startswith("policy ")]
                if policies and queue.name not in told:
                    told.add(queue.name)
                    say(f"queue {queue.name!r} may drop tasks that it has confirmed: {', '.join(policies)}")

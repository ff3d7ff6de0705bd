"""Warns of settings that let a queue drop tasks: only the management API shows policies, and arguments to a user who
may not declare the queue. It may be out of reach.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from functools import partial

from rqtool.dropping import warning
from rqtool.errors import AccessRefused, Unreachable
from rqtool.management.api import Management
from rqtool.management.in_thread import in_thread
from rqtool.work.report.events import Events

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0
"""Seconds between looks; the API reports a queue's policy some seconds late, and it can change at any time."""


async def warn_of_policies(api: Management, vhost: str, queues: Collection[str], events: Events) -> None:
    """Say once of each queue whose settings let it drop tasks. Never ends."""
    pause = FIRST_PAUSE
    keys = [(vhost, queue) for queue in queues]
    while True:
        await asyncio.sleep(pause)
        pause = min(5 * pause, LONGEST_PAUSE)
        with suppress(Unreachable, AccessRefused):
            for queue in await in_thread(partial(api.reported, vhost, keys)):
                if line := warning(queue.name, queue.drops):
                    events.say_once(line)

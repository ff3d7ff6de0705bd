"""Warns of settings that let a queue drop tasks. Only the management API shows policies; to a user who may not declare
the queue, it also shows the arguments. It may be out of reach.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from rqtool.endpoint.urls import Endpoint
from rqtool.errors import AccessRefused, Unreachable
from rqtool.management.in_thread import in_thread
from rqtool.topology import warning

if TYPE_CHECKING:
    from rqtool.management.api import Management

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0
"""Seconds between looks; the API reports a queue's policy some seconds late, and it can change at any time."""


async def warn_of_policies(endpoint: Endpoint, queues: Collection[str], warn: Callable[[str], None]) -> None:
    """Look now and then, and each time warn of the queues whose settings let them drop tasks. Never ends."""
    pause = FIRST_PAUSE
    await asyncio.sleep(pause)
    from rqtool.management.api import Management  # a short run saves 40 ms

    api = Management(endpoint.api_urls, endpoint.tls)
    while True:
        await warn_now(api, endpoint.vhost, queues, warn)
        pause = min(5 * pause, LONGEST_PAUSE)
        await asyncio.sleep(pause)


async def warn_now(api: Management, vhost: str, queues: Collection[str], warn: Callable[[str], None]) -> None:
    """Warn of each of these queues whose settings let it drop tasks, as far as the API tells."""
    with suppress(Unreachable, AccessRefused):
        for queue in await in_thread(partial(api.reported, vhost, [(vhost, name) for name in queues])):
            if line := warning(queue.name, queue.drops):
                warn(line)

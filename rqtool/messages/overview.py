"""Finds every dead queue, and looks into it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from rqtool.amqp.connect import connect
from rqtool.amqp.declare import count_ready
from rqtool.endpoint.urls import Endpoint
from rqtool.errors import AccessRefused, RqtoolError, Stopped, Unreachable
from rqtool.management.api import Management
from rqtool.management.queue import Queue
from rqtool.messages.dead_letters import Listing, Selection
from rqtool.messages.listing import DeadTask
from rqtool.messages.summary import SAMPLE, Summary, sum_up
from rqtool.topology import DEAD, dead_queue


def dead_queues(endpoint: Endpoint) -> dict[str, Queue]:
    """Return the dead queues of the vhost that may hold tasks, under the names of the queues that they are beside.
    Raises Unreachable and AccessRefused.
    """
    try:
        found = _dead_queues(endpoint)
    except (Unreachable, AccessRefused) as error:
        other = "Or look into one queue, without the API: rqtool dead list QUEUE"
        raise type(error)(error.what, f"{error.what_to_do}. {other}") from None
    # A quorum queue's figures are seconds old.
    return {name: queue for name, queue in found.items() if queue.type != "classic" or queue.messages != 0}


def queues_with_dead_tasks(endpoint: Endpoint) -> list[str]:
    """Return the queues that are known to have dead tasks; none if the API does not answer."""
    try:
        return [name for name, queue in _dead_queues(endpoint).items() if queue.messages]
    except (Unreachable, AccessRefused):
        return []


def _dead_queues(endpoint: Endpoint) -> dict[str, Queue]:
    """Return the vhost's dead queues, also those out of reach, under the names of the queues that they are beside."""
    found = {}
    api = Management(endpoint.api_urls, endpoint.tls)
    for queue in api.completed(endpoint.vhost, with_consumers=False, with_ages=False):
        name = queue.name.removesuffix(DEAD)
        if name not in ("", queue.name) and queue.type != "stream" and not queue.exclusive:
            found[name] = queue
    return found


async def look(endpoint: Endpoint, queues: Mapping[str, Queue]) -> tuple[list[Summary], list[RqtoolError]]:
    """Return a summary for each queue that has dead tasks, and the errors of those that could not be read.

    Raises Unreachable and AccessRefused if there is no connection to be had at all, and Stopped after a signal.
    """
    connection = await connect(endpoint, "dead")
    try:
        empty = [name for name, queue in queues.items() if queue.messages == 0]
        asked = (count_ready(connection, dead_queue(name)) for name in empty)
        now = dict(zip(empty, await asyncio.gather(*asked, return_exceptions=True), strict=True))
    finally:
        await connection.close()
    summaries: list[Summary] = []
    problems: list[RqtoolError] = []
    for queue in (name for name in queues if now.get(name) != 0):
        sample: list[DeadTask] = []

        async def collect(tasks: list[DeadTask], sample: list[DeadTask] = sample) -> None:
            sample += tasks

        listing = Listing(endpoint, Selection(queue, limit=SAMPLE), collect)
        try:
            await listing.run()
        except Stopped:
            raise
        except RqtoolError as error:
            problems.append(error)
        if listing.ready:
            summaries.append(sum_up(queue, listing.ready, sample))
    return summaries, problems

"""Looks into every dead queue."""

from __future__ import annotations

from collections.abc import Sequence

from rqtool.amqp.connect import connect
from rqtool.endpoint.urls import Endpoint
from rqtool.errors import RqtoolError, Stopped
from rqtool.messages.dead_letters import Listing, Selection
from rqtool.messages.listing import DeadTask
from rqtool.messages.summary import SAMPLE, Summary, sum_up


async def look(endpoint: Endpoint, queues: Sequence[str]) -> tuple[list[Summary], list[RqtoolError]]:
    """Return a summary for each queue that has dead tasks, and the errors of those that could not be read.

    Raises Unreachable and AccessRefused if there is no connection to be had at all, and Stopped after a signal.
    """
    await (await connect(endpoint, "dead")).close()
    summaries: list[Summary] = []
    problems: list[RqtoolError] = []
    for queue in queues:
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

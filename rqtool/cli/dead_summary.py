"""`rqtool dead` alone: every dead queue in a line."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rqtool.amqp.topology import dead_queue
from rqtool.cli.options import Json, Quiet, with_broker
from rqtool.cli.output import complain, put, talker
from rqtool.endpoint.urls import Endpoint
from rqtool.errors import AccessRefused, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from rqtool.messages.summary import Summary


@with_broker(api=True)
def summary(*, json: Json = False, quiet: Quiet = False, endpoint: Endpoint) -> int:
    """Sum up every dead queue of the vhost: how many tasks, since when, why. The same as `rqtool dead` alone."""
    import asyncio
    from datetime import UTC, datetime

    from rqtool.messages.overview import look
    from rqtool.messages.summary import SAMPLE

    names = _dead_queues(endpoint)

    async def show() -> int:
        summaries, problems = await look(endpoint, names)
        await put(_summary_format(json=json)(summaries, datetime.now(UTC)))
        for error in problems:
            complain(str(error))
        if not (summaries or problems):
            talker(quiet=quiet)("no dead tasks")
        if any(each.tasks > each.sampled for each in summaries):
            talker(quiet=quiet)(f"age and reasons are those of the oldest {SAMPLE} tasks of each queue")
        return problems[0].exit_code if problems else 0

    return asyncio.run(show())


def _dead_queues(endpoint: Endpoint) -> list[str]:
    """The queues of the vhost whose dead queues may have tasks. Raises Unreachable and AccessRefused."""
    from rqtool.management.api import Management

    try:
        found = Management(endpoint.api_urls, endpoint.tls).queues(endpoint.vhost)
    except (Unreachable, AccessRefused) as error:
        other = "Or look into one queue, without the API: rqtool dead list QUEUE"
        raise type(error)(error.what, f"{error.what_to_do}. {other}") from None
    suffix = dead_queue("")
    for queue in found:
        if queue.name.endswith(suffix) and queue.state == "down":
            complain(f"{queue.name!r} is down: its tasks are not counted")
    return [
        queue.name.removesuffix(suffix)
        for queue in found
        if queue.name.endswith(suffix)
        and queue.name != suffix
        and queue.type in ("classic", "quorum")
        and queue.state != "down"
        and not queue.exclusive
        # The API's figures of a quorum queue are seconds old.
        and (queue.type == "quorum" or queue.messages != 0)
    ]


def _summary_format(*, json: bool) -> Callable[[Sequence[Summary], datetime], str]:
    if json:
        from rqtool.messages.summary import summaries_as_json

        return summaries_as_json
    if sys.stdout is not None and sys.stdout.isatty():
        from rqtool.messages.table import summaries_as_table

        return summaries_as_table
    from rqtool.messages.summary import summaries_as_lines

    return summaries_as_lines

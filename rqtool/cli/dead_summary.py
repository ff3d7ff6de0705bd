"""`rqtool dead` alone: every dead queue in a line."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rqtool.amqp.topology import dead_queue
from rqtool.cli.options import Json, Quiet, with_broker
from rqtool.cli.output import complain, put, talker
from rqtool.endpoint.urls import Endpoint
from rqtool.errors import AccessRefused, RqtoolError, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from rqtool.messages.summary import Summary


@with_broker(api=True)
def summary(*, json: Json = False, quiet: Quiet = False, endpoint: Endpoint) -> int:
    """Sum up every dead queue of the vhost. How many tasks, since when, why; the same as `rqtool dead` alone."""
    import asyncio
    from datetime import UTC, datetime

    from rqtool.messages.overview import look
    from rqtool.messages.summary import SAMPLE

    names, down = _dead_queues(endpoint)

    async def show() -> int:
        summaries, problems = await look(endpoint, names)
        await put(_summary_format(json=json)(summaries, datetime.now(UTC)))
        for error in (problems := down + problems):
            complain(str(error))
        if not (summaries or problems):
            talker(quiet=quiet)("no dead tasks")
        if any(0 < each.sampled < each.tasks for each in summaries):
            talker(quiet=quiet)(f"age and reasons are those of the oldest {SAMPLE} tasks of each queue")
        return problems[0].exit_code if problems else 0

    return asyncio.run(show())


def _dead_queues(endpoint: Endpoint) -> tuple[list[str], list[RqtoolError]]:
    """Return the queues of the vhost whose dead queues may have tasks, and an error for each that is down.

    Raises Unreachable and AccessRefused.
    """
    from rqtool.management.api import Management

    try:
        found = Management(endpoint.api_urls, endpoint.tls).queues(endpoint.vhost)
    except (Unreachable, AccessRefused) as error:
        other = "Or look into one queue, without the API: rqtool dead list QUEUE"
        raise type(error)(error.what, f"{error.what_to_do}. {other}") from None
    names, down = [], []
    for queue in found:
        name = queue.name.removesuffix(dead_queue(""))
        if name in ("", queue.name) or queue.type == "stream" or queue.exclusive:
            continue
        if queue.state == "down":
            down.append(RqtoolError(f"Queue {queue.name!r} is down, and its tasks are not counted", "Start its node"))
        elif queue.type != "classic" or queue.messages != 0:  # a quorum queue's figures are seconds old
            names.append(name)
    return names, down


def _summary_format(*, json: bool) -> Callable[[Sequence[Summary], datetime], str]:
    if json:
        from rqtool.messages.summary import summaries_as_json

        return summaries_as_json
    if sys.stdout is not None and sys.stdout.isatty():
        from rqtool.messages.table import summaries_as_table

        return summaries_as_table
    from rqtool.messages.summary import summaries_as_lines

    return summaries_as_lines

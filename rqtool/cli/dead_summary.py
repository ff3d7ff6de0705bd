"""`rqtool dead` alone: every dead queue in a line."""

from __future__ import annotations

import sys

from rqtool.cli.options import Json, Quiet, with_broker
from rqtool.endpoint.urls import Endpoint
from rqtool.output import complain, put, talker


@with_broker(api=True)
def summary(*, json: Json = False, quiet: Quiet = False, endpoint: Endpoint) -> int:
    """Sum up every dead queue of the vhost. How many tasks, since when, why; the same as `rqtool dead` alone."""
    import asyncio
    from datetime import UTC, datetime

    from rqtool.messages.overview import dead_queues, look
    from rqtool.messages.summary import SAMPLE

    if json:
        from rqtool.messages.summary import summaries_as_json as draw
    elif sys.stdout is not None and sys.stdout.isatty():
        from rqtool.messages.table import summaries_as_table as draw
    else:
        from rqtool.messages.summary import summaries_as_lines as draw
    names, down = dead_queues(endpoint)

    async def show() -> int:
        summaries, problems = await look(endpoint, names)
        await put(draw(summaries, datetime.now(UTC)))
        for error in (problems := down + problems):
            complain(str(error))
        if not (summaries or problems):
            talker(quiet=quiet)("no dead tasks")
        if any(0 < each.sampled < each.tasks for each in summaries):
            talker(quiet=quiet)(f"age and reasons are those of the oldest {SAMPLE} tasks of each queue")
        return problems[0].exit_code if problems else 0

    return asyncio.run(show())

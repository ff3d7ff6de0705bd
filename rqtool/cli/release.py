"""`rqtool release`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from rqtool.cli.options import Json, Quiet, StuckAfter, parse_stuck_after, queue_option, with_broker
from rqtool.endpoint.urls import Endpoint
from rqtool.errors import UsageError
from rqtool.output import ask, complain, emit, talker
from rqtool.text import plural
from rqtool.topology import check_queue_name

app = typer.Typer(rich_markup_mode=None, add_completion=False)


EXAMPLES = """\
\b
Examples:
  rqtool release task_queue                 show who forgot to ack; ask; close
  rqtool release task_queue --holder crm-7  close this connection instead
  rqtool release task_queue --yes           without asking, in a script

The broker puts the messages of a closed connection back into their queues and
delivers them to other consumers.
"""


@app.command(help=EXAMPLES)
@with_broker(queue_argument=True)
def release(
    *,
    # Neither this nor --holder nor --yes has an environment twin: a forgotten variable must not disconnect anybody.
    queue: Annotated[
        str | None,
        queue_option(metavar="NAME", allow_from_autoenv=False, help="The queue.", show_default="none"),
    ] = None,
    holders: Annotated[
        list[str] | None,
        typer.Option(
            "--holder",
            metavar="NAME",
            allow_from_autoenv=False,
            help="Close this connection, busy or not: a client's name or address from rqtool queues --holders; may be "
            "repeated.",
            show_default="those that forgot an ack",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", allow_from_autoenv=False, help="Don't ask.")] = False,
    stuck_after: StuckAfter = "60s",
    json: Json = False,
    quiet: Quiet = False,
    endpoint: Endpoint,
) -> int:
    import asyncio

    from rqtool.management.api import Management
    from rqtool.queues.release import Release
    from rqtool.queues.release_report import announced, as_json, nothing, summary

    seconds = parse_stuck_after(stuck_after)
    if queue is None:
        raise UsageError("No queue is named", "Give its name: rqtool release QUEUE")
    check_queue_name(queue)
    job = Release(Management(endpoint.api_urls, endpoint.tls), endpoint.vhost, queue, holders or [], seconds)
    say = talker(quiet=quiet)
    plan = job.plan()
    if not plan.targets:
        say(nothing(plan))
        if json:
            emit(as_json(plan.diagnosis.queue))
        return 0
    if not quiet or not yes:
        for line in announced(plan):
            complain(line)
    if not (yes or (sys.stdin is not None and sys.stdin.isatty())):
        raise UsageError("No connection is closed: there is no terminal to ask on", "Add --yes")
    if not yes and not asyncio.run(ask(f"Close {plural(len(plan.targets), 'connection')}? [y/N] ")):
        say("no connection is closed")
        return 0
    released = job.carry_out(plan)
    if json:
        emit(as_json(released.queue, released.closed, released.beside))
    elif not quiet:
        emit(summary(queue, released))
    return 0

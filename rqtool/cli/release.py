"""`rqtool release`."""

from __future__ import annotations

import sys
from json import dumps
from typing import TYPE_CHECKING, Annotated

import typer

from rqtool.amqp.topology import check_queue_name
from rqtool.cli.completion import queue_names
from rqtool.cli.options import Json, Quiet, StuckAfter, parse_stuck_after, with_broker
from rqtool.cli.output import ask, complain, emit
from rqtool.endpoint.urls import Endpoint
from rqtool.errors import UsageError
from rqtool.text import plural

if TYPE_CHECKING:
    from rqtool.management.queue import Queue
    from rqtool.queues.release import Plan, Released, Target


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
@with_broker(api=True, queue_argument=True)
def release(
    *,
    # Neither this nor --holder nor --yes has an environment twin: a forgotten variable must not disconnect anybody.
    queue: Annotated[
        str | None,
        typer.Option(
            "--queue",
            "-q",
            metavar="NAME",
            allow_from_autoenv=False,
            help="The queue.",
            show_default="none",
            autocompletion=queue_names,
        ),
    ] = None,
    holders: Annotated[
        list[str] | None,
        typer.Option(
            "--holder",
            metavar="NAME",
            allow_from_autoenv=False,
            help="Close this connection, busy or not: a client's name or address from rqtool queues --holders; may be "
            "repeated.",
            show_default="those that forgot",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", allow_from_autoenv=False, help="Don't ask.")] = False,
    stuck_after: StuckAfter = "60s",
    json: Json = False,
    quiet: Quiet = False,
    endpoint: Endpoint,
) -> int:
    from rqtool.management.api import Management
    from rqtool.queues.release import Release

    seconds = parse_stuck_after(stuck_after)
    if queue is None:
        raise UsageError("No queue is named", "Give its name: rqtool release QUEUE")
    check_queue_name(queue)
    if not (yes or (sys.stdin is not None and sys.stdin.isatty())):
        raise UsageError("No connection is closed: there is no terminal to ask on", "Add --yes")
    job = Release(Management(endpoint.api_urls, endpoint.tls), endpoint.vhost, queue, holders or [], seconds)
    plan = job.plan()
    if not plan.targets:
        if not quiet:
            complain(_nothing(plan))
        if json:
            emit(dumps(_object(plan.diagnosis.queue)))
        return 0
    if not quiet or not yes:
        for line in _announced(plan):
            complain(line)
    if not yes and not ask(f"Close {plural(len(plan.targets), 'connection')}? [y/N] "):
        if not quiet:
            complain("no connection is closed")
        return 0
    released = job.carry_out(plan)
    if json:
        emit(dumps(_object(released.queue, *released.closed)))
    elif not quiet:
        emit(_summary(queue, released))
    return 0


def _nothing(plan: Plan) -> str:
    name = plan.diagnosis.queue.name
    unseen = f". {plan.unseen}" if plan.unseen else ""
    if not plan.diagnosis.queue.held:
        return f"nothing of {name!r} is held"
    if plan.diagnosis.stuck:
        return f"{name!r}: {plan.diagnosis.reason}. Nobody can be named whose connection to close{unseen}"
    who = f"{plan.diagnosis.queue.held:,} of {name!r} held, and nobody is known to have forgotten them"
    return f"{who}. See: rqtool queues --holders; --holder NAME closes a connection all the same{unseen}"


def _announced(plan: Plan) -> list[str]:
    """Who holds how much, and what else comes back with the connection."""
    queue = plan.diagnosis.queue.name
    lines = []
    for target in plan.targets:
        also = f", and {_listed(target.elsewhere)}" if target.elsewhere else ""
        line = f"{target.client.described} holds {target.held:,} of {queue!r}{also}"
        if target.busy:
            all_of_them = target.busy == {queue: target.held, **target.elsewhere}
            which = "them" if all_of_them else _listed(target.busy)
            line += f"; it may be at work on {which}, and they will be done twice"
        lines.append(line)
    others = len({each.client.connection for each in plan.diagnosis.holding}) - len(plan.targets)
    return [*lines, f"{plural(others, 'connection')} at work on that queue will stay"] if others else lines


def _listed(counts: dict[str, int]) -> str:
    return " and ".join(f"{count:,} of {name!r}" for name, count in counts.items())


def _summary(queue: str, released: Released) -> str:
    if not released.closed:
        return " [x] Closed none: the messages were acknowledged after all"
    figures = f"{released.queue.ready:,} ready, {released.queue.held:,} held now"
    names = ", ".join(target.client.described for target in released.closed)
    where = "" if released.seen else "; others have them already, or the broker's figures are late"
    return f" [x] Gave back {plural(released.held, 'message')} of {queue!r} ({figures}{where}); closed {names}"


def _object(queue: Queue, *closed: Target) -> dict[str, object]:
    return {
        "queue": queue.name,
        "released": sum(target.held for target in closed),
        "closed": [
            {
                "client": target.client.name,
                "host": target.client.host,
                "pid": target.client.pid,
                "address": target.client.address,
                "connection": target.client.connection,
                "held": target.held,
                "elsewhere": target.elsewhere,
            }
            for target in closed
        ],
        "messages_ready": queue.messages_ready,
        "messages_unacknowledged": queue.messages_unacknowledged,
    }

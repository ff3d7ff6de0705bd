"""Options that choose tasks, and the selection that they make."""

from __future__ import annotations

import inspect
from functools import partial
from time import time
from typing import TYPE_CHECKING, Annotated

import typer

from rqtool.cli.options import DEFAULT_QUEUE, QueueName, parse_option
from rqtool.durations import parse_duration
from rqtool.errors import UsageError
from rqtool.topology import check_queue_name, dead_queue

if TYPE_CHECKING:
    from rqtool.messages.dead_letters import Selection

# None of these has an environment twin: a forgotten variable must not decide what is deleted.
_only = partial(typer.Option, allow_from_autoenv=False, show_default="all")
DryRun = Annotated[
    bool, typer.Option("--dry-run", allow_from_autoenv=False, help="Say what would happen, and change nothing.")
]


def select(
    *,
    queue: QueueName = DEFAULT_QUEUE,
    ids: Annotated[
        list[str] | None,
        _only("--id", metavar="ID", help="Only the task with this id or unique prefix of an id; may be repeated."),
    ] = None,
    grep: Annotated[
        str | None, _only(metavar="RE", help="Only tasks with a line in their body that matches this regex.")
    ] = None,
    reason: Annotated[
        str | None, _only(metavar="RE", help="Only tasks whose reason or saved stderr matches this regex.")
    ] = None,
    header: Annotated[
        list[str] | None,
        _only(metavar="K=V", help="Only tasks with this header and value; if repeated, with all of them."),
    ] = None,
    older_than: Annotated[
        str | None, _only(metavar="DURATION", help="Only tasks that died longer ago than this: 10m, 24h.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="At most N tasks, the oldest first.", show_default="no limit"),
    ] = None,
) -> Selection:
    """Return the dead tasks of a queue that these options choose. Raises UsageError."""
    from rqtool.messages.dead_letters import Selection
    from rqtool.messages.filter import Filter, parse_header, parse_pattern

    check_queue_name(dead_queue(queue))
    if "" in (ids or []):
        raise UsageError("An empty id names no task", "See the ids with: rqtool dead list")
    like = Filter(
        None if grep is None else parse_option("--grep", grep, parse_pattern),
        None if reason is None else parse_option("--reason", reason, parse_pattern),
        None if older_than is None else time() - parse_option("--older-than", older_than, parse_duration),
        tuple(parse_header(each) for each in header or []),
    )
    return Selection(queue, ids or [], limit, like)


# What it returns is imported when it is called.
CHOICE = tuple(inspect.signature(select, eval_str=True, locals={"Selection": None}).parameters.values())
"""The options that choose tasks."""

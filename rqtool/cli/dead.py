"""`rqtool dead list | retry | purge`."""

from __future__ import annotations

import sys
from json import dumps
from typing import TYPE_CHECKING, Annotated

import typer

from rqtool.amqp.topology import check_queue_name, dead_queue
from rqtool.cli.options import DEFAULT_QUEUE, Json, QueueName, Quiet, with_broker
from rqtool.cli.output import complain, emit, put, talker
from rqtool.endpoint.urls import Endpoint
from rqtool.errors import UsageError
from rqtool.text import plural, printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from typing import Protocol

    from rqtool.messages.dead_letters import Operation, Selection
    from rqtool.messages.listing import DeadTask

    class Format(Protocol):
        """Formats a part of the list; the `first` part has the header."""

        def __call__(self, tasks: Sequence[DeadTask], now: datetime, *, first: bool) -> str: ...


app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)

# --id and --yes have no environment twins: a forgotten variable must not decide what is deleted.
Ids = Annotated[
    list[str] | None,
    typer.Option(
        "--id",
        metavar="ID",
        allow_from_autoenv=False,
        help="Only the task with this id; may be repeated.",
        show_default="all",
    ),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, metavar="N", help="At most N tasks, the oldest first.", show_default="no limit"),
]


@app.command("list")
@with_broker(queue_argument=True)
def list_(
    *,
    queue: QueueName = DEFAULT_QUEUE,
    ids: Ids = None,
    limit: Limit = None,
    json: Json = False,
    quiet: Quiet = False,
    endpoint: Endpoint,
) -> int:
    """List the dead tasks, the oldest first, and why they failed. They stay where they are."""
    import asyncio
    from datetime import UTC, datetime

    from rqtool.messages.dead_letters import Listing

    draw = _format(json=json)
    now = datetime.now(UTC)
    first = True

    async def show(tasks: Sequence[DeadTask]) -> None:
        nonlocal first
        await put(draw(tasks, now, first=first) + ("]\n" if json and not tasks else ""))
        first = False

    listing = Listing(endpoint, _selection(queue, ids, limit), show)
    return _end(listing, queue, asyncio.run(listing.run()), quiet=quiet)


@app.command()
@with_broker(queue_argument=True)
def retry(
    *,
    queue: QueueName = DEFAULT_QUEUE,
    ids: Ids = None,
    limit: Limit = None,
    json: Json = False,
    quiet: Quiet = False,
    endpoint: Endpoint,
) -> int:
    """Put dead tasks back into their queue, as if they had never been tried."""
    import asyncio

    from rqtool.messages.dead_letters import Retry

    retrying = Retry(endpoint, _selection(queue, ids, limit), talker(quiet=quiet))
    count = asyncio.run(retrying.run())
    if json:
        emit(dumps({"queue": queue, "retried": count}))
    elif count and not quiet:
        emit(f" [x] Put {plural(count, 'task')} back into {queue!r}")
    return _end(retrying, queue, count, quiet=quiet)


@app.command()
@with_broker(queue_argument=True)
def purge(
    *,
    queue: QueueName = DEFAULT_QUEUE,
    ids: Ids = None,
    limit: Limit = None,
    yes: Annotated[bool, typer.Option("--yes", allow_from_autoenv=False, help="Don't ask.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    endpoint: Endpoint,
) -> int:
    """Delete dead tasks for good."""
    import asyncio

    from rqtool.messages.dead_letters import Purge

    if not (yes or (sys.stdin is not None and sys.stdin.isatty())):
        raise UsageError("Nothing is deleted: there is no terminal to ask on", "Add --yes")

    async def confirm(count: int) -> bool:
        return await _ask(f"Delete {plural(count, 'task')} of {dead_queue(queue)!r} for good? [y/N] ")

    purging = Purge(endpoint, _selection(queue, ids, limit), None if yes else confirm)
    count = asyncio.run(purging.run())
    if json:
        emit(dumps({"queue": queue, "deleted": count}))
    elif count and not quiet:
        emit(f" [x] Deleted {plural(count, 'task')} of {dead_queue(queue)!r}")
    if purging.declined:
        talker(quiet=quiet)("nothing is deleted")
        return 0
    return _end(purging, queue, count, quiet=quiet)


def _selection(queue: str, ids: list[str] | None, limit: int | None) -> Selection:
    from rqtool.messages.dead_letters import Selection

    check_queue_name(dead_queue(queue))
    return Selection(queue, ids or [], limit)


def _format(*, json: bool) -> Format:
    if json:
        from rqtool.messages.listing import dead_as_json

        return dead_as_json
    if sys.stdout is not None and sys.stdout.isatty():
        from rqtool.messages.table import dead_as_table

        return dead_as_table
    from rqtool.messages.listing import dead_as_lines

    return dead_as_lines


def _end(operation: Operation, queue: str, count: int, *, quiet: bool) -> int:
    """Say what was not there, and return the exit code."""
    if operation.missing:
        names = ", ".join(repr(name) for name in operation.missing)
        complain(f"There is no task {names} in {dead_queue(queue)!r}. See the ids with: rqtool dead list")
        return 1
    if not count:
        talker(quiet=quiet)(f"there are no dead tasks in {dead_queue(queue)!r}")
    return 0


async def _ask(question: str) -> bool:
    """Ask on the terminal without blocking the event loop: heartbeats and signals go on until the answer comes."""
    import asyncio
    import os

    sys.stderr.write(printable(question))
    sys.stderr.flush()
    loop = asyncio.get_running_loop()
    reply: asyncio.Future[bytes] = loop.create_future()

    def readable() -> None:
        if not reply.done():
            reply.set_result(os.read(0, 1000))

    loop.add_reader(0, readable)
    try:
        return (await reply).strip().lower() in (b"y", b"yes")
    finally:
        loop.remove_reader(0)
        if not reply.done() or reply.cancelled():
            sys.stderr.write("\n")

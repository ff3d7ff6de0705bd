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

    from rqtool.messages.dead_letters import DeadLetters
    from rqtool.messages.listing import DeadTask

    class Format(Protocol):
        """Draws a piece of the list; the `first` one has a head."""

        def __call__(self, tasks: Sequence[DeadTask], now: datetime, *, first: bool) -> str: ...


app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)

# Neither --id nor --yes has an environment twin: what is left over in an environment must not choose what is deleted.
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
    """Show them, the oldest first, and why they were given up."""
    import asyncio

    dead = _dead(endpoint, queue, ids, limit, quiet=quiet)
    count = asyncio.run(_show(dead, json=json))
    return _end(dead, queue, count, quiet=quiet)


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
    """Put them back into their queue, as if they had never been tried."""
    import asyncio

    dead = _dead(endpoint, queue, ids, limit, quiet=quiet)
    retried = asyncio.run(dead.retry())
    if json:
        emit(dumps({"queue": queue, "retried": retried}))
    elif retried and not quiet:
        emit(f" [x] Put {plural(retried, 'task')} back into {queue!r}")
    return _end(dead, queue, retried, quiet=quiet)


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
    """Delete them for good."""
    import asyncio

    if not (yes or (sys.stdin is not None and sys.stdin.isatty())):
        raise UsageError("Nothing is deleted: there is no terminal to ask on", "Add --yes")
    declined = False

    async def confirm(count: int) -> bool:
        nonlocal declined
        declined = not await _answer(f"Delete {plural(count, 'task')} of {dead_queue(queue)!r} for good? [y/N] ")
        return not declined

    dead = _dead(endpoint, queue, ids, limit, quiet=quiet)
    deleted = asyncio.run(dead.purge(None if yes else confirm))
    if json:
        emit(dumps({"queue": queue, "deleted": deleted}))
    elif deleted and not quiet:
        emit(f" [x] Deleted {plural(deleted, 'task')} of {dead_queue(queue)!r}")
    if declined:
        talker(quiet=quiet)("nothing is deleted")
        return 0
    return _end(dead, queue, deleted, quiet=quiet)


def _dead(endpoint: Endpoint, queue: str, ids: list[str] | None, limit: int | None, *, quiet: bool) -> DeadLetters:
    from rqtool.messages.dead_letters import DeadLetters

    check_queue_name(dead_queue(queue))
    return DeadLetters(endpoint, queue, ids=ids or [], limit=limit, say=talker(quiet=quiet))


async def _show(dead: DeadLetters, *, json: bool) -> int:
    """Print them as they come. Returns how many."""
    from datetime import UTC, datetime

    draw = _format(json=json)
    now = datetime.now(UTC)
    shown = False

    async def show(tasks: Sequence[DeadTask]) -> None:
        nonlocal shown
        end = "]\n" if json and not tasks else ""
        await put(draw(tasks, now, first=not shown) + end)
        shown = True

    return await dead.look(show)


def _format(*, json: bool) -> Format:
    if json:
        from rqtool.messages.listing import dead_as_json

        return dead_as_json
    if sys.stdout is not None and sys.stdout.isatty():
        from rqtool.messages.table import dead_as_table

        return dead_as_table
    from rqtool.messages.listing import dead_as_lines

    return dead_as_lines


def _end(dead: DeadLetters, queue: str, count: int, *, quiet: bool) -> int:
    if dead.missing:
        names = ", ".join(repr(name) for name in dead.missing)
        complain(f"There is no task {names} in {dead_queue(queue)!r}. See the ids with: rqtool dead list")
        return 1
    if not count:
        talker(quiet=quiet)(f"there are no dead tasks in {dead_queue(queue)!r}")
    return 0


async def _answer(question: str) -> bool:
    """Ask on the terminal, beside the event loop: heartbeats and signals go on however long it takes."""
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

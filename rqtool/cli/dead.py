"""`rqtool dead [list | show | retry | purge]`."""

from __future__ import annotations

import shlex
import sys
from datetime import UTC, datetime
from itertools import pairwise
from json import dumps
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from rqtool.cli.filter import CHOICE, DryRun, select
from rqtool.cli.options import DEFAULT_QUEUE, AcceptLoss, Json, QueueName, Quiet, with_broker
from rqtool.endpoint.urls import Endpoint
from rqtool.errors import RqtoolError, UsageError
from rqtool.output import ask, complain, emit, put, talker
from rqtool.text import closest, plural
from rqtool.topology import DEAD, dead_queue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rqtool.messages.dead_letters import Operation
    from rqtool.messages.listing import DeadTask


SUMMARY = "summary"
MOST_NAMES = 3


class DeadGroup(TyperGroup):
    """`rqtool dead` alone is `rqtool dead summary`; with a queue instead of a command it is `rqtool dead list`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        first, second = [*args, "", ""][:2]
        is_known = first in (*self.commands, *ctx.help_option_names)
        is_mistyped = not first.startswith("-") and second[:1] not in ("", "-")  # a queue stands alone
        beside = pairwise(args) if first.startswith("-") else ()
        options = self.commands["list"].params
        with_value = {name for option in options if not getattr(option, "is_flag", True) for name in option.opts}
        is_late = any(arg in self.commands and before not in with_value for before, arg in beside)
        if not (is_known or is_mistyped or is_late or ctx.resilient_parsing):
            named = first[:1] not in ("", "-") or any(arg.startswith(("-q", "--queue")) for arg in args)
            args = ["list" if named else SUMMARY, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=DeadGroup, rich_markup_mode=None, add_completion=False)


@app.command(SUMMARY)
@with_broker()
def summary(*, json: Json = False, quiet: Quiet = False, endpoint: Endpoint) -> int:
    """Sum up every dead queue of the vhost. Shows how many tasks, since when, and why. The same as `rqtool dead`."""
    import asyncio

    from rqtool.messages.overview import dead_queues, look
    from rqtool.messages.summary import SAMPLE

    if json:
        from rqtool.messages.summary import summaries_as_json as draw
    elif sys.stdout.isatty():
        from rqtool.messages.table import summaries_as_table as draw
    else:
        from rqtool.messages.summary import summaries_as_lines as draw
    queues = dead_queues(endpoint)

    async def show() -> int:
        summaries, problems = await look(endpoint, queues)
        await put(draw(summaries, datetime.now(UTC)))
        for error in problems:
            complain(str(error))
        if not (summaries or problems):
            talker(quiet=quiet)("no dead tasks")
        if any(0 < each.sampled < each.tasks for each in summaries):
            talker(quiet=quiet)(f"age and reasons are those of the oldest {SAMPLE} tasks of each queue")
        return problems[0].exit_code if problems else 0

    return asyncio.run(show())


@app.command("list")
@with_broker(queue_argument=True, choice=CHOICE)
def list_(*, json: Json = False, quiet: Quiet = False, endpoint: Endpoint, **choice: Any) -> int:
    """List the dead tasks, oldest first, and why they failed. They stay where they are."""
    import asyncio

    from rqtool.messages.dead_letters import Listing

    if json:
        from rqtool.messages.listing import dead_as_json as draw
    elif sys.stdout.isatty():
        from rqtool.messages.table import dead_as_table as draw
    else:
        from rqtool.messages.listing import dead_as_lines as draw
    selection, now = select(**choice), datetime.now(UTC)
    queue = selection.queue
    first = True

    async def show(tasks: Sequence[DeadTask]) -> None:
        nonlocal first
        await put(draw(tasks, now, first=first) + ("]\n" if json and not tasks else ""))
        first = False

    listing = Listing(endpoint, selection, show)
    try:
        code = _end(listing, asyncio.run(listing.run()), quiet=quiet)
    except RqtoolError as error:
        if not error.unknown_queue:
            raise
        if verb := closest(queue, ["list", "show", "retry", "purge"]):
            error.what_to_do = f"The verb is: rqtool dead {verb}"
        elif others := _others(endpoint, queue):
            raise RqtoolError(f"{error.what}; {others}", "See them all with: rqtool dead") from None
        raise
    if not (listing.ready or quiet) and (others := _others(endpoint, queue)):
        complain(f"{others}; see them all with: rqtool dead")
    return code


@app.command("show")
@with_broker(queue_argument=True)
def show_(
    *,
    task: Annotated[str, typer.Argument(metavar="ID", help="The task's id, or a unique prefix of it.")],
    queue: QueueName = DEFAULT_QUEUE,
    json: Json = False,
    quiet: Quiet = False,
    endpoint: Endpoint,
) -> int:
    """Show one dead task in full. Prints why it failed, its headers and its body. It stays where it is."""
    import asyncio

    from rqtool.messages.dead_letters import Show
    from rqtool.messages.detail import detail_as_json, detail_as_text
    from rqtool.messages.overview import queues_with_dead_tasks

    finding = Show(endpoint, select(queue=queue, ids=[task], limit=1))

    async def show() -> int:
        count = await finding.run()
        if finding.detail is not None:
            await put((detail_as_json if json else detail_as_text)(finding.detail, datetime.now(UTC)))
        return count

    count = asyncio.run(show())
    if finding.missing and queue == DEFAULT_QUEUE and task in queues_with_dead_tasks(endpoint):
        raise RqtoolError(
            f"{task!r} is a queue, and no task of {queue!r}", f"Write: rqtool dead show ID {shlex.quote(task)}"
        )
    return _end(finding, count, quiet=quiet)


@app.command()
@with_broker(queue_argument=True, choice=CHOICE)
def retry(
    *,
    accept_loss: AcceptLoss = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
    endpoint: Endpoint,
    **choice: Any,
) -> int:
    """Put dead tasks back into their queue, as if never tried."""
    import asyncio

    from rqtool.messages.dead_letters import Operation, Retry

    selection = select(**choice)
    say = talker(quiet=quiet)
    retrying = Operation(endpoint, selection) if dry_run else Retry(endpoint, selection, say, accept_loss=accept_loss)
    count = asyncio.run(retrying.run())
    if json:
        counts = {"retried": 0, "would_retry": count} if dry_run else {"retried": count}
        emit(dumps({"queue": selection.queue, **counts}))
    elif count and not quiet:
        emit(f" [x] {'Would put' if dry_run else 'Put'} {plural(count, 'task')} back into {selection.queue!r}")
    return _end(retrying, count, quiet=quiet)


@app.command()
@with_broker(queue_argument=True, choice=CHOICE)
def purge(
    *,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", allow_from_autoenv=False, help="Don't ask.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    endpoint: Endpoint,
    **choice: Any,
) -> int:
    """Delete dead tasks for good."""
    import asyncio

    from rqtool.messages.dead_letters import Operation, Purge

    if not (yes or dry_run or (sys.stdin is not None and sys.stdin.isatty())):
        raise UsageError("Nothing is deleted: there is no terminal to ask on", "Add --yes")

    selection = select(**choice)
    name = dead_queue(selection.queue)

    async def confirm(count: int) -> bool:
        return await ask(f"Delete {plural(count, 'task')} of {name!r} for good? [y/N] ")

    purging = Operation(endpoint, selection) if dry_run else Purge(endpoint, selection, None if yes else confirm)
    count = asyncio.run(purging.run())
    if json:
        counts = {"deleted": 0, "would_delete": count} if dry_run else {"deleted": count}
        emit(dumps({"queue": selection.queue, **counts}))
    elif count and not quiet:
        emit(f" [x] {'Would delete' if dry_run else 'Deleted'} {plural(count, 'task')} of {name!r}")
    if isinstance(purging, Purge) and purging.declined:
        talker(quiet=quiet)("nothing is deleted")
        return 0
    return _end(purging, count, quiet=quiet)


def _others(endpoint: Endpoint, queue: str) -> str:
    """Say which queues have dead tasks, where the default queue has none: perhaps none was named."""
    from rqtool.messages.overview import queues_with_dead_tasks

    names = queues_with_dead_tasks(endpoint) if queue == DEFAULT_QUEUE else []
    more = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
    return f"there are dead tasks of {', '.join(map(repr, names[:MOST_NAMES]))}{more}" if names else ""


def _end(operation: Operation, count: int, *, quiet: bool) -> int:
    """Report ids that are missing or ambiguous, or that there are no tasks. Return the exit code."""
    queue = operation.queue
    if operation.missing:
        names = ", ".join(repr(name) for name in operation.missing)
        listing = f"rqtool dead list {shlex.quote(queue)}"
        complain(f"There is no task {names} in {dead_queue(queue)!r}. See the ids with: {listing}.")
    for name, candidates in operation.ambiguous.items():
        complain(f"{name!r} is ambiguous: {', '.join(candidates)}. Give more of the id")
    if operation.missing or operation.ambiguous:
        return 1
    if not count:
        none = "nothing matches among the dead tasks" if operation.ready else "there are no dead tasks"
        home = queue.removesuffix(DEAD)
        if home != queue and not operation.ready:
            complain(f"{none} in {dead_queue(queue)!r}; those of {home!r}: rqtool dead list {shlex.quote(home)}")
            return 1
        talker(quiet=quiet)(f"{none} in {dead_queue(queue)!r}")
    return 0

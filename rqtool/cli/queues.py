"""`rqtool queues`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rqtool.cli.command import Command
from rqtool.cli.options import Json, Quiet, StuckAfter, parse_stuck_after, with_broker
from rqtool.cli.output import complain, emit
from rqtool.durations import is_duration, parse_duration
from rqtool.endpoint.urls import Endpoint
from rqtool.errors import RqtoolError, UsageError
from rqtool.output import OutputError, unwritable
from rqtool.text import is_text

if TYPE_CHECKING:
    from rqtool.queues.check import Check
    from rqtool.queues.snapshot import Snapshot

app = typer.Typer(rich_markup_mode=None, add_completion=False)

WATCH_DURATION = "2s"
SHORTEST_WATCH = 0.2
LOOK, CHECK = "What to show", "Limits for --check"

EXAMPLES = """\
\b
Examples:
  rqtool queues                          every queue, with a verdict
  rqtool queues task_queue               this queue only
  rqtool queues --holders                who holds messages, and since when
  rqtool queues --watch                  trends, refreshed every 2 s
  rqtool queues --check --crit-ready 99  a line and an exit code for Nagios
"""


class QueuesCommand(Command):
    """A command whose `--watch` may come without its duration, before the name of a queue too; and that answers
    `--check` with its line and UNKNOWN at every error: to Nagios the exit code 2 would be CRITICAL, and 70 nothing.
    """

    options_title = LOOK

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        end = args.index("--") if "--" in args else len(args)
        with _unknown_at_errors(check="--check" in args[:end]):
            if "--watch" in args[:end]:
                at = args.index("--watch")
                given = at + 1 < end and is_duration(args[at + 1])
                args[at : at + 2 if given else at + 1] = [f"--watch={args[at + 1] if given else WATCH_DURATION}"]
            return super().parse_args(ctx, args)

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        with _unknown_at_errors(check=bool(ctx.params.get("check"))):
            return super().invoke(ctx)


@contextmanager
def _unknown_at_errors(*, check: bool) -> Iterator[None]:
    """What can't be checked is UNKNOWN."""
    try:
        yield
    except (typer.Exit, typer.Abort, OutputError):
        raise
    except Exception as error:
        expected = isinstance(error, RqtoolError | typer.TyperException)
        if not check or (not expected and os.environ.get("RQTOOL_DEBUG")):
            raise
        from rqtool.queues.check import Check, Status

        what = error.format_message() if isinstance(error, typer.TyperException) else str(error)
        result = Check(Status.UNKNOWN, what if expected else f"Internal error: {type(error).__name__}: {what}")
        raise typer.Exit(_report(result)) from None


_LIMITED = {
    "ready": "messages are ready",
    "held": "messages are held without an ack",
    "stuck": "messages are held by suspects",
    "dead": "tasks were given up",
}


def _limit(level: str, metric: str, default: str = "no limit") -> Any:
    status = {"warn": "WARNING", "crit": "CRITICAL"}[level]
    return typer.Option(
        f"--{level}-{metric}",
        min=0,
        metavar="N",
        help=f"{status} if more than N {_LIMITED[metric]}.",
        show_default=default,
        rich_help_panel=CHECK,
    )


@app.command(cls=QueuesCommand, help=EXAMPLES)
@with_broker(api=True)
def queues(
    *,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Only these queues, and those for their tasks that came back."),
    ] = None,
    holders: Annotated[
        bool, typer.Option("--holders", help="Who holds messages: a line per consumer instead of one per queue.")
    ] = False,
    watch: Annotated[
        str | None,
        typer.Option(
            "--watch",
            metavar="[DURATION]",
            help=f"Redraw every DURATION ({WATCH_DURATION} unless given); q or Ctrl-C ends.",
            show_default="once",
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="For Nagios, Icinga, cron: one line; exit code 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN."
        ),
    ] = False,
    stuck_after: StuckAfter = "60s",
    vhost: Annotated[
        str | None, typer.Option("--vhost", metavar="NAME", help="The vhost.", show_default="the URL's")
    ] = None,
    all_vhosts: Annotated[bool, typer.Option("--all-vhosts", help="Every vhost.")] = False,
    warn_ready: Annotated[int | None, _limit("warn", "ready")] = None,
    crit_ready: Annotated[int | None, _limit("crit", "ready")] = None,
    warn_held: Annotated[int | None, _limit("warn", "held")] = None,
    crit_held: Annotated[int | None, _limit("crit", "held")] = None,
    warn_stuck: Annotated[int | None, _limit("warn", "stuck")] = None,
    crit_stuck: Annotated[int | None, _limit("crit", "stuck", "0")] = 0,
    warn_dead: Annotated[int | None, _limit("warn", "dead", "0")] = 0,
    crit_dead: Annotated[int | None, _limit("crit", "dead")] = None,
    json: Json = False,
    quiet: Quiet = False,
    endpoint: Endpoint,
) -> int:
    if vhost is not None and all_vhosts:
        raise UsageError("--vhost and --all-vhosts contradict each other", "Use one of the two")
    if vhost is not None and not is_text(vhost):
        raise UsageError(f"{vhost!r} is no vhost", "Give a name in UTF-8")
    if sum([watch is not None, check, json]) > 1 or (holders and (check or watch is not None)):
        raise UsageError("--watch, --check, --json and --holders don't go together", "Only --holders --json does")
    seconds = parse_stuck_after(stuck_after)
    where = None if all_vhosts else vhost or endpoint.vhost
    if watch is not None:
        return _watch(endpoint, where, names, seconds, watch)
    if check:
        from rqtool.queues.check import Thresholds
        from rqtool.queues.check import check as judge

        warn = _given(ready=warn_ready, held=warn_held, stuck=warn_stuck, dead=warn_dead)
        crit = _given(ready=crit_ready, held=crit_held, stuck=crit_stuck, dead=crit_dead)
        found = _snapshot(endpoint, where, names and [*names, *(f"{name}.dead" for name in names)], seconds)
        result = judge(found.diagnoses, Thresholds(warn, crit), names or [], found.unseen)
        return result.status if quiet else _report(result)
    found = _snapshot(endpoint, where, names, seconds)
    if not quiet:
        _show(found, vhosts=all_vhosts, json=json, holders=holders)
        if found.unseen and (holders or any(each.queue.held for each in found.diagnoses)):
            complain(f"{found.unseen}.")
    missing = [name for name in names or [] if name not in {each.queue.name for each in found.diagnoses}]
    for name in missing:
        complain(f"There is no queue {name!r} here. See the names with: rqtool queues --all-vhosts")
    return 1 if missing else 0


def _given(**limits: int | None) -> dict[str, int]:
    return {metric: limit for metric, limit in limits.items() if limit is not None}


def _snapshot(endpoint: Endpoint, where: str | None, names: list[str] | None, stuck_after: float) -> Snapshot:
    from datetime import datetime

    from rqtool.management.api import Management
    from rqtool.queues.snapshot import take_snapshot

    api = Management(endpoint.api_urls, endpoint.tls)
    return take_snapshot(api, where, stuck_after, datetime.now().astimezone(), names or None)


def _show(found: Snapshot, *, vhosts: bool, json: bool, holders: bool) -> None:
    if sys.stdout.isatty() and not json:
        from rqtool.queues.table import show

        show(found.diagnoses, holders=holders, vhosts=vhosts)
        return
    from rqtool.queues import columns

    if holders:
        emit(columns.printed(columns.HOLDER_COLUMNS, columns.holder_rows(found.diagnoses), json=json, vhosts=vhosts))
    else:
        emit(columns.printed(columns.QUEUE_COLUMNS, found.diagnoses, json=json, vhosts=vhosts))


def _report(result: Check) -> int:
    """Print the line of a check and return its exit code. A line that nobody can read is UNKNOWN."""
    from rqtool.queues.check import Status

    try:
        emit(result.line)
    except OutputError as error:
        complain(str(unwritable(error)))
        return Status.UNKNOWN
    return result.status


def _watch(endpoint: Endpoint, where: str | None, names: list[str] | None, stuck_after: float, every: str) -> int:
    seconds = parse_duration(every)
    if seconds < SHORTEST_WATCH:
        raise UsageError(f"--watch {every} would only keep the broker busy", "Give it 200ms or more")
    if not sys.stdout.isatty():
        raise UsageError("--watch draws on a terminal, and this is none", "Leave it out, and call rqtool queues again")
    from rqtool.queues.watch import Watch

    return Watch(endpoint, where, names or None, stuck_after, seconds).run()

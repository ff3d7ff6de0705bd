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


class QueuesCommand(Command):
    """A command whose `--watch` may stand without its duration, before the name of a queue too; and that answers
    `--check` with its line and code whatever happens: for Nagios 2 would be CRITICAL, and 70 is nothing at all.
    """

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        check = "--check" in (args[: args.index("--")] if "--" in args else args)
        with _unknown_at_errors(check=check):
            return self._parse(ctx, args)

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        with _unknown_at_errors(check=bool(ctx.params.get("check"))):
            return super().invoke(ctx)

    def _parse(self, ctx: typer.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        if "--watch" in args[:end]:
            at = args.index("--watch")
            given = at + 1 < end and is_duration(args[at + 1])
            args[at : at + 2 if given else at + 1] = [f"--watch={args[at + 1] if given else WATCH_DURATION}"]
        return super().parse_args(ctx, args)


@contextmanager
def _unknown_at_errors(*, check: bool) -> Iterator[None]:
    """Whatever can't be checked is UNKNOWN."""
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
        raise typer.Exit(_tell(result)) from None


def _limit(metric: str, level: str, words: str, default: str) -> Any:
    return typer.Option(
        f"--{level}-{metric}",
        min=0,
        metavar="N",
        help=f"With --check: {'WARNING' if level == 'warn' else 'CRITICAL'} when more than N {words}.",
        show_default=default,
    )


@app.command(cls=QueuesCommand)
@with_broker(api=True)
def queues(
    *,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Only these queues, and what came back of their tasks."),
    ] = None,
    holders: Annotated[
        bool, typer.Option("--holders", help="Show who holds messages: a line per consumer instead of one per queue.")
    ] = False,
    watch: Annotated[
        str | None,
        typer.Option(
            "--watch",
            metavar="[DURATION]",
            help=f"Stay, and look again every DURATION ({WATCH_DURATION} unless given); q or Ctrl-C ends.",
            show_default="look once",
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="For Nagios, Icinga, cron: one line; exit code 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN."
        ),
    ] = False,
    stuck_after: StuckAfter = "60s",
    warn_ready: Annotated[int | None, _limit("ready", "warn", "messages are ready", "no limit")] = None,
    crit_ready: Annotated[int | None, _limit("ready", "crit", "messages are ready", "no limit")] = None,
    warn_held: Annotated[int | None, _limit("held", "warn", "messages are held without an ack", "no limit")] = None,
    crit_held: Annotated[int | None, _limit("held", "crit", "messages are held without an ack", "no limit")] = None,
    warn_stuck: Annotated[int | None, _limit("stuck", "warn", "messages are held by suspects", "no limit")] = None,
    crit_stuck: Annotated[int | None, _limit("stuck", "crit", "messages are held by suspects", "0")] = 0,
    warn_dead: Annotated[int | None, _limit("dead", "warn", "tasks were given up", "0")] = 0,
    crit_dead: Annotated[int | None, _limit("dead", "crit", "tasks were given up", "no limit")] = None,
    vhost: Annotated[
        str | None, typer.Option("--vhost", metavar="NAME", help="The vhost to look at.", show_default="the URL's")
    ] = None,
    all_vhosts: Annotated[bool, typer.Option("--all-vhosts", help="Look at every vhost.")] = False,
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
        limits = {
            "warn": {"ready": warn_ready, "held": warn_held, "stuck": warn_stuck, "dead": warn_dead},
            "crit": {"ready": crit_ready, "held": crit_held, "stuck": crit_stuck, "dead": crit_dead},
        }
        result = _check(endpoint, where, names or [], seconds, limits)
        return result.status if quiet else _tell(result)
    found = _snapshot(endpoint, where, names, seconds)
    if not quiet:
        _show(found, vhosts=all_vhosts, json=json, holders=holders)
        if found.unseen and (holders or any(each.queue.held for each in found.diagnoses)):
            complain(f"{found.unseen}.")
    missing = [name for name in names or [] if name not in {each.queue.name for each in found.diagnoses}]
    for name in missing:
        complain(f"There is no queue {name!r} here. See the names with: rqtool queues --all-vhosts")
    return 1 if missing else 0


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


def _check(
    endpoint: Endpoint,
    where: str | None,
    names: list[str],
    stuck_after: float,
    limits: dict[str, dict[str, int | None]],
) -> Check:
    from rqtool.queues.check import Thresholds, check

    warn, crit = ({m: n for m, n in limits[level].items() if n is not None} for level in ("warn", "crit"))
    found = _snapshot(endpoint, where, names and [*names, *(f"{name}.dead" for name in names)], stuck_after)
    return check(found.diagnoses, Thresholds(warn, crit), names, found.unseen)


def _tell(result: Check) -> int:
    """Print the line and return the exit code. What a monitor can't read is UNKNOWN."""
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
        raise UsageError(f"--watch {every} would only make the broker work", "Give it 200ms or more")
    if not sys.stdout.isatty():
        raise UsageError("--watch draws on a terminal, and this is none", "Leave it out, and call rqtool queues again")
    from rqtool.queues.watch import Watch

    return Watch(endpoint, where, names or None, stuck_after, seconds).run()

"""`rqtool queues`."""

from __future__ import annotations

import sys
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

import typer

from rqtool.cli.check import CHECKING, Format, age_limit, checking, format_in, limit, limits, report, unknown_at_errors
from rqtool.cli.command import Command
from rqtool.cli.completion import did_you_mean
from rqtool.cli.options import (
    Json,
    Quiet,
    StuckAfter,
    complete_queue,
    is_typed,
    parse_stuck_after,
    queue_option,
    with_broker,
)
from rqtool.durations import is_duration, parse_duration
from rqtool.endpoint.urls import Endpoint
from rqtool.errors import UsageError
from rqtool.output import complain, emit
from rqtool.topology import check_queue_name

app = typer.Typer(rich_markup_mode=None, add_completion=False)

WATCH_DURATION = "2s"
SHORTEST_WATCH = 0.2
LOOK = "What to show"

EXAMPLES = """\
\b
Examples:
  rqtool queues                          every queue, with a verdict
  rqtool queues task_queue 'mail*'       this one, and all named mail...
  rqtool queues --holders                who holds messages, and since when
  rqtool queues --watch                  trends, refreshed every 2 s
  rqtool queues --check --crit-ready 99  a line and an exit code for Nagios
"""


class QueuesCommand(Command):
    """A command whose `--watch` may lack its duration, even before the name of a queue. With `--check` it answers every
    error with a line and UNKNOWN: to Nagios the exit code 2 would mean CRITICAL, and 70 nothing.
    """

    options_title = LOOK

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        end = args.index("--") if "--" in args else len(args)
        with unknown_at_errors(format_in(args[:end]) if "--check" in args[:end] else None):
            if "--watch" in args[:end]:
                at = args.index("--watch")
                given = at + 1 < end and (is_duration(args[at + 1]) or args[at + 1].isdecimal())  # 5: an error
                args[at : at + 2 if given else at + 1] = [f"--watch={args[at + 1] if given else WATCH_DURATION}"]
            return super().parse_args(ctx, args)

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        params = ctx.params
        with unknown_at_errors((params.get("form") or "nagios") if params.get("check") else None):
            if params["all_vhosts"] and is_typed(ctx, "vhost"):
                raise UsageError("--vhost and --all-vhosts contradict each other", "Use one of the two")
            for param in () if params["check"] else self.get_params(ctx):
                if param.rich_help_panel == CHECKING and is_typed(ctx, param.name):
                    raise UsageError(f"{param.opts[0]} is for --check", f"Add --check, or leave {param.opts[0]} out")
            return super().invoke(ctx)


@app.command(cls=QueuesCommand, help=EXAMPLES)
@with_broker()
def queues(
    *,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATTERN]...",
            help="Only these queues, and those of their returned tasks: names, or globs with *, ? and [...].",
            autocompletion=complete_queue,
        ),
    ] = None,
    queue: Annotated[
        str | None,
        # A forgotten variable must not hide the other queues.
        queue_option(
            metavar="PATTERN", allow_from_autoenv=False, help="The same as one PATTERN.", show_default="every queue"
        ),
    ] = None,
    everything: Annotated[
        bool,
        typer.Option(
            "--all",
            envvar="RQTOOL_QUEUES_ALL",
            help="On a terminal, list all healthy queues too, however many there are.",
        ),
    ] = False,
    sort: Annotated[
        Literal["name", "ready", "unacknowledged", "verdict"] | None,
        typer.Option(
            help="Sort by name, figure (the largest first) or verdict (the worst first).",
            show_default="verdict on a terminal, else name",
        ),
    ] = None,
    chosen: Annotated[
        str | None,
        typer.Option(
            "--columns",
            metavar="A,B,C",
            envvar="RQTOOL_QUEUES_COLUMNS",
            help="Show these columns, in this order: any key of --json.",
            show_default="on a terminal, those that fit",
        ),
    ] = None,
    holders: Annotated[
        bool, typer.Option("--holders", help="Show who holds messages, with a line per consumer.")
    ] = False,
    watch: Annotated[
        str | None,
        typer.Option(
            metavar="[DURATION]",
            help=f"Redraw every DURATION ({WATCH_DURATION} unless given); q or Ctrl-C quits.",
            show_default="once",
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="For Nagios, Icinga, cron: one line; exit code 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN."
        ),
    ] = False,
    form: Annotated[
        Format | None,
        checking("--format", envvar="RQTOOL_QUEUES_FORMAT", help="How --check reports.", show_default="nagios"),
    ] = None,
    stuck_after: StuckAfter = "60s",
    all_vhosts: Annotated[bool, typer.Option("--all-vhosts", help="Show the queues of every vhost.")] = False,
    warn_ready: Annotated[int | None, limit("warn", "ready")] = None,
    crit_ready: Annotated[int | None, limit("crit", "ready")] = None,
    warn_held: Annotated[int | None, limit("warn", "held")] = None,
    crit_held: Annotated[int | None, limit("crit", "held")] = None,
    warn_stuck: Annotated[int | None, limit("warn", "stuck")] = None,
    crit_stuck: Annotated[int | None, limit("crit", "stuck", "0")] = 0,
    warn_dead: Annotated[int | None, limit("warn", "dead", "0")] = 0,
    crit_dead: Annotated[int | None, limit("crit", "dead")] = None,
    warn_age: Annotated[str | None, age_limit("warn")] = None,
    crit_age: Annotated[str | None, age_limit("crit")] = None,
    json: Json = False,
    quiet: Quiet = False,
    endpoint: Endpoint,
) -> int:
    if queue is not None and names:
        raise UsageError("The queues are named twice: as arguments and with --queue", "Use one of the two")
    names = [queue] if queue is not None else names or []
    for name in names:
        check_queue_name(name)
    if sum([watch is not None, check, json]) > 1 or (holders and (check or watch is not None)):
        raise UsageError(
            "--watch, --check, --json and --holders don't go together",
            "Only --holders --json does; --check has --format json",
        )
    if (everything or sort or chosen) and (watch is not None or check or holders):
        raise UsageError(
            "--all, --sort and --columns don't go with --watch, --check or --holders", "They are for the list of queues"
        )
    if chosen is not None and json:
        raise UsageError("--columns and --json don't go together", "Use one of the two: JSON has every key")
    seconds = parse_stuck_after(stuck_after)
    where = None if all_vhosts else endpoint.vhost
    if watch is not None:
        return _watch(endpoint, where, names, seconds, watch)
    from rqtool.management.api import Management
    from rqtool.queues.snapshot import take_snapshot

    api = Management(endpoint.api_urls, endpoint.tls)
    look = partial(take_snapshot, api, where, seconds, datetime.now().astimezone())

    def hint(name: str) -> str:
        return did_you_mean(endpoint, name) if where is not None else ""

    if check:
        from rqtool.queues.check import Thresholds
        from rqtool.queues.check import check as judge

        warn = limits("warn", warn_age, ready=warn_ready, held=warn_held, stuck=warn_stuck, dead=warn_dead)
        crit = limits("crit", crit_age, ready=crit_ready, held=crit_held, stuck=crit_stuck, dead=crit_dead)
        thresholds = Thresholds(warn, crit)
        with_ages = bool(thresholds.ages) or form in ("prometheus", "json")
        found = look(names or None, age=max(thresholds.ages, default=0), with_ages=with_ages, with_dead=True)
        result = judge(found.diagnoses, thresholds, names, found.unseen, hint)
        return result.status if quiet else report(result, form or "nagios")
    from rqtool.queues import columns

    shown = None if chosen is None else columns.choose(chosen)
    on_terminal = sys.stdout.isatty() and not json
    with_dead = on_terminal and not holders
    found = look(names or None, with_ages=json or chosen is not None, with_dead=with_dead)
    by = sort or ("verdict" if on_terminal else None)
    diagnoses = columns.ordered(found.diagnoses, by) if by else found.diagnoses
    if quiet or (on_terminal and names and not diagnoses):
        pass
    elif on_terminal:
        from rqtool.queues import table

        if holders:
            table.show_holders(diagnoses, vhosts=all_vhosts)
        else:
            table.show(diagnoses, shown, everything=everything, vhosts=all_vhosts)
    elif holders:
        emit(columns.printed(columns.HOLDER_COLUMNS, columns.holder_rows(diagnoses), json=json, vhosts=all_vhosts))
    elif shown:
        emit(columns.tsv(shown, diagnoses))
    else:
        emit(columns.printed(columns.QUEUE_COLUMNS, diagnoses, json=json, vhosts=all_vhosts))
    if not quiet and found.unseen and (holders or any(each.queue.held for each in found.diagnoses)):
        complain(f"{found.unseen}.")
    from rqtool.queues.shown import is_glob, unmatched

    missing = unmatched(names, [each.queue.name for each in found.diagnoses])
    for name in missing:
        what = f"No queue here matches {name!r}" if is_glob(name) else f"There is no queue {name!r} here"
        complain(f"{what}{hint(name)}. See the names with: rqtool queues --all-vhosts.")
    return 1 if missing else 0


def _watch(endpoint: Endpoint, where: str | None, names: list[str], stuck_after: float, every: str) -> int:
    seconds = parse_duration(every)
    if seconds < SHORTEST_WATCH:
        raise UsageError(f"--watch {every} is too short", "Give it 200ms or more")
    if not sys.stdout.isatty():
        raise UsageError(
            "--watch draws on a terminal, which stdout is not", "Leave it out, and call rqtool queues again"
        )
    from rqtool.queues.watch import Watch

    return Watch(endpoint, where, names or None, stuck_after, seconds).run()

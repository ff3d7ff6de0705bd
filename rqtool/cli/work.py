"""`rqtool work`."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from rqtool.cli.command import OUTPUT
from rqtool.cli.options import DEFAULT_QUEUE, AcceptLoss, Json, Kind, QueueName, parse_option, with_broker
from rqtool.cli.work_command import EXAMPLES, REFERENCE, WorkCommand
from rqtool.durations import parse_duration
from rqtool.endpoint.urls import Endpoint
from rqtool.errors import UsageError
from rqtool.run.encoding import PRETENDED, Spec
from rqtool.run.placeholders import WHOLE
from rqtool.run.processors import processors
from rqtool.text import plural
from rqtool.topology import DEAD, check_sibling_names, dead_queue
from rqtool.work.retry import DEFAULT_DELAYS, parse_delays

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_retry = partial(typer.Option, rich_help_panel="Retries")
_limit = partial(typer.Option, rich_help_panel="Limits and stopping")
_output = partial(typer.Option, rich_help_panel=OUTPUT)

MOST_JOBS = 1000


def parse_jobs(text: str | int) -> int:
    """Return how many tasks are to run at once. Raises typer.BadParameter."""
    text = str(text)
    if text == "auto":
        return min(processors(), MOST_JOBS)
    if percentage := re.fullmatch(r"([0-9]{1,9})%", text):
        jobs = max(processors() * int(percentage[1]) // 100, 1)
    else:
        jobs = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else 0
    if not 1 <= jobs <= MOST_JOBS:
        raise typer.BadParameter(f"{text!r} is not a number from 1 to {MOST_JOBS:,}, N% or auto")
    return jobs


# What follows the first word that is no option belongs to the command, its options too.
@app.command(cls=WorkCommand, help=EXAMPLES, epilog=REFERENCE, context_settings={"allow_interspersed_args": False})
@with_broker()
def work(
    *,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- CMD [ARG]...]",
            help="Run CMD for each task, with the task on stdin. {} in an argument is the task, {.} the task without "
            "extension, {/} its base name, {//} its directory, {/.} its base name without extension. Without CMD and "
            "--call the worker pretends to work: one second per dot in the task.",
        ),
    ] = None,
    queue: QueueName = DEFAULT_QUEUE,
    placeholder: Annotated[
        str | None,
        typer.Option(
            "-I",
            metavar="STR",
            help="Use STR instead of {}; {.}, {/}, {//} and {/.} stay as they are.",
            show_default="{}",
        ),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs",
            "-j",
            parser=parse_jobs,
            metavar="N",
            help="Run N tasks at once. N%: this share of the cores, at least one; 'auto': one per core.",
        ),
    ] = 1,
    prefetch: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65_535,
            metavar="N",
            help="Hold N unacknowledged tasks at once.",
            show_default="adapts: one per job, and more while tasks are short",
        ),
    ] = None,
    call: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION",
            help="Call this Python function for each task, with the body (bytes), or with an rqtool.Task if the "
            "parameter is annotated as one.",
            show_default="none",
        ),
    ] = None,
    retry_delays: Annotated[
        str,
        _retry(
            metavar="DELAYS",
            help="The pauses before the second, third, ... attempt at a failed task; after the last attempt it goes to "
            "the dead queue. 'none': no retries.",
        ),
    ] = DEFAULT_DELAYS,
    timeout: Annotated[
        str | None,
        _limit(metavar="DURATION", help="An attempt that takes longer is killed and failed.", show_default="no limit"),
    ] = None,
    grace: Annotated[
        str | None,
        _limit(
            metavar="DURATION",
            help="After the first signal, wait this long for running tasks, then kill them.",
            show_default="until they end",
        ),
    ] = None,
    drain: Annotated[
        bool,
        _limit("--drain", help="Exit when nothing is ready, no worker holds anything, and nothing waits for a retry."),
    ] = False,
    halt: Annotated[
        int | None,
        _limit(
            min=1,
            metavar="N",
            help="Stop after N failed attempts in a row, with exit code 1. Exit codes 65 and 75 count neither as a "
            "failure nor as a success.",
            show_default="no limit",
        ),
    ] = None,
    no_brake: Annotated[
        bool,
        _limit(
            "--no-brake",
            help="Don't slow down after ten failed tasks in a row. By default one task at a time begins then, until "
            "one succeeds, with pauses that grow to the longest of --retry-delays, 30 s at most.",
        ),
    ] = False,
    max_tasks: Annotated[
        int | None, _limit(min=1, metavar="N", help="Exit after N tasks.", show_default="no limit")
    ] = None,
    health_file: Annotated[
        Path | None,
        _limit(
            metavar="FILE",
            help="For liveness probes: touch FILE every 5 s while the worker is alive, and remove it at the end.",
            show_default="none",
        ),
    ] = None,
    type: Kind = None,  # noqa: A002 - its environment twin is named after it
    accept_loss: AcceptLoss = False,
    bar: Annotated[
        bool,
        _output(
            "--bar",
            help="Show progress on the last line of the terminal: tasks done, failed, running and left, rate and ETA. "
            "Received and Done are not printed.",
        ),
    ] = False,
    output: Annotated[
        Literal["direct", "line", "group"] | None,
        _output(
            help="How to print the output of tasks. 'direct': tasks write to the worker's stdout themselves. 'line': "
            "lines of different tasks never mix. 'group': all output of a task at its end.",
            show_default="direct with one job, else line",
        ),
    ] = None,
    tag: Annotated[bool, _output("--tag", help="Put the task and a TAB before each line of its output.")] = False,
    joblog: Annotated[
        Path | None,
        _output(
            metavar="FILE",
            help="Append a line per attempt to FILE, in GNU parallel's format.",
            show_default="none",
        ),
    ] = None,
    json: Json = False,
    quiet: Annotated[
        bool, _output("--quiet", help="Print only errors and the output of tasks, neither Received nor Done.")
    ] = False,
    endpoint: Endpoint,
) -> int:
    import asyncio

    from rqtool.management.api import Management
    from rqtool.run.pool import Pool
    from rqtool.work.options import WorkOptions
    from rqtool.work.report.events import Events
    from rqtool.work.report.job_log import JobLog
    from rqtool.work.report.output import WorkerOutput
    from rqtool.work.report.progress import can_draw
    from rqtool.work.worker import Worker

    options = WorkOptions(
        queue=queue,
        kind=type,
        accept_loss=accept_loss,
        health_file=health_file,
        jobs=jobs,
        prefetch=prefetch,
        max_tasks=max_tasks,
        drain=drain,
        halt=halt,
        brake=not no_brake,
        bar=bar and can_draw(),
        retry_delays=parse_option("--retry-delays", retry_delays, parse_delays),
        grace=None if grace is None else parse_option("--grace", grace, parse_duration),
    )
    check_sibling_names(queue, options.places)
    spec = _with_output(_spec(command or [], placeholder, call, timeout), output, jobs, tag=tag)
    # Beside JSON on stdout the work's own output would be noise.
    out = WorkerOutput(quiet=quiet, data_only=json)
    tells_each = json or joblog is not None or not (quiet or bar)
    pool = Pool(spec, jobs, stdout=2 if json else None, output=out, together=not tells_each)
    say = out.say
    if prefetch is not None and prefetch < jobs:
        say(f"--prefetch {prefetch} keeps all but {prefetch} of {jobs} jobs idle")
    if queue.endswith(DEAD):
        home = shlex.quote(queue.removesuffix(DEAD))
        say(f"{queue!r} holds tasks that were given up; rqtool dead retry {home} puts them back where they came from")
    events = Events(out, quiet=quiet or bar, as_json=json)
    if joblog is not None:
        events.job_log = JobLog(joblog, spec)
    working = Worker(endpoint, options, pool, events, Management(endpoint.api_urls, endpoint.tls))
    dead = asyncio.run(working.run()).dead
    if dead:
        say(
            f"{plural(dead, 'task')} ended in {dead_queue(queue)!r}; see: rqtool dead list --queue {shlex.quote(queue)}"
        )
    return 1 if dead and (drain or max_tasks is not None) else 0


def _with_output(spec: Spec, output: Literal["direct", "line", "group"] | None, jobs: int, *, tag: bool) -> Spec:
    if spec.what == [PRETENDED]:
        if output is not None or tag:
            option = "--tag" if tag else "--output"
            raise UsageError(f"{option} is for a command or for --call", f"Name one, or leave {option} out")
        return spec
    if tag and output == "direct":
        raise UsageError("--tag and --output direct contradict each other", "Use --output line, or leave it out")
    return replace(spec, output=output or ("line" if jobs > 1 or tag else "direct"), tag=tag)


def _spec(command: list[str], placeholder: str | None, call: str | None, timeout: str | None) -> Spec:
    from rqtool.run.code_injection import check_placeholders
    from rqtool.run.target import split

    seconds = None if timeout is None else parse_option("--timeout", timeout, parse_duration)
    if seconds == 0:
        raise UsageError("--timeout 0 is too short", "Leave it out for no limit")
    if command and call is not None:
        raise UsageError("--call and a command contradict each other", "Use one of the two")
    if seconds is not None and not command and call is None:
        raise UsageError("--timeout is for a command or for --call", "Name one, or leave --timeout out")
    if placeholder is not None and not command:
        raise UsageError("-I is for a command", "Name one, or leave -I out")
    if placeholder == "":
        raise UsageError("-I: the placeholder is empty", "Choose a string that appears nowhere else in the command")
    if command:
        check_placeholders(command, placeholder or WHOLE)
        return Spec("command", command, seconds, placeholder=placeholder or WHOLE)
    target = PRETENDED if call is None else call
    split(target)
    return Spec("function", [target], seconds)

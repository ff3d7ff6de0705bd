"""`rqtool work`."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from rqtool.amqp.topology import check_sibling_names, dead_queue
from rqtool.cli.endpoint import with_broker
from rqtool.cli.options import DEFAULT_QUEUE, AcceptLoss, Json, Kind, QueueName
from rqtool.durations import parse_duration
from rqtool.endpoint.urls import Endpoint
from rqtool.errors import UsageError
from rqtool.text import plural
from rqtool.work.retry import DEFAULT_DELAYS, parse_delays

if TYPE_CHECKING:
    from rqtool.run.pool import Pool


app = typer.Typer(rich_markup_mode=None, add_completion=False)


# What follows the first word that is no option belongs to the command, its options too.
@app.command(context_settings={"allow_interspersed_args": False})
@with_broker(api=True)
def work(
    *,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- CMD [ARG]...]",
            help="Run this for each task, the body on stdin; an argument {} is replaced by the body. Exit code 0: "
            "done, 65: give the task up, 75: try again later, anything else: it failed. Without CMD and --call: a "
            "second of pretended work per dot in the body.",
        ),
    ] = None,
    queue: QueueName = DEFAULT_QUEUE,
    prefetch: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65_535,
            metavar="N",
            help="Unacknowledged tasks at once.",
            show_default="adapts: as many as jobs, and more while tasks are short",
        ),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=1000, metavar="N", help="Tasks at work at once.")] = 1,
    call: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION",
            help="Call this Python function for each task, with its body (bytes), or as annotated with an rqtool.Task.",
            show_default="none",
        ),
    ] = None,
    retry_delays: Annotated[
        str,
        typer.Option(
            metavar="DELAYS",
            help="The pauses before the second, third, ... attempt at a task that failed; after the last attempt it "
            "goes to the dead queue. 'none': no retries.",
        ),
    ] = DEFAULT_DELAYS,
    timeout: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="End an attempt that takes longer; it failed.", show_default="no limit"),
    ] = None,
    grace: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="How long a worker that is told to stop waits for the tasks at work, before it kills them.",
            show_default="until they end",
        ),
    ] = None,
    drain: Annotated[
        bool,
        typer.Option(
            "--drain", help="Exit when nothing is ready, no worker holds anything, and nothing waits for a retry."
        ),
    ] = False,
    max_tasks: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Exit after N tasks.", show_default="no limit")
    ] = None,
    type: Kind = None,  # noqa: A002 - its environment twin is named after it
    accept_loss: AcceptLoss = False,
    json: Json = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Neither Received nor Done; only what the work prints, and errors.")
    ] = False,
    endpoint: Endpoint,
) -> int:
    import asyncio

    from rqtool.management.api import Management
    from rqtool.work.events import Events, JsonEvents
    from rqtool.work.options import WorkOptions
    from rqtool.work.output import WorkerOutput
    from rqtool.work.worker import Worker

    options = WorkOptions(
        queue=queue,
        kind=type,
        accept_loss=accept_loss,
        jobs=jobs,
        prefetch=prefetch,
        max_tasks=max_tasks,
        drain=drain,
        retry_delays=parse_delays(retry_delays),
        grace=None if grace is None else parse_duration(grace),
    )
    check_sibling_names(queue, [delay.name for delay in options.retry_delays])
    pool = _pool(command or [], call, jobs, timeout, json=json)
    out = WorkerOutput(quiet=quiet)
    say = out.say
    if any("{}" in argument and argument != "{}" for argument in command or []):
        say("only an argument that is {} and nothing else is replaced by the task; the others stay as they are")
    if prefetch is not None and prefetch < jobs:
        say(f"--prefetch {prefetch} keeps all but {prefetch} of {jobs} jobs idle")
    events = JsonEvents(out) if json else Events(out, quiet=quiet)
    working = Worker(endpoint, options, pool, events, Management(endpoint.api_urls, endpoint.tls))
    if sys.stderr.isatty():
        say(f"waiting for tasks in {queue!r}; Ctrl-C ends after the task at work, a second one at once")
    dead = asyncio.run(working.run())
    if dead:
        say(
            f"{plural(dead, 'task')} ended in {dead_queue(queue)!r}; see: rqtool dead list --queue {shlex.quote(queue)}"
        )
    return 1 if dead and (drain or max_tasks is not None) else 0


def _pool(command: list[str], call: str | None, jobs: int, timeout: str | None, *, json: bool) -> Pool:
    from rqtool.run.encoding import PRETENDED, Spec
    from rqtool.run.pool import Pool
    from rqtool.run.target import split

    seconds = None if timeout is None else parse_duration(timeout)
    if seconds == 0:
        raise UsageError("--timeout 0 leaves no time for any task", "Leave it out for no limit")
    if command and call is not None:
        raise UsageError("--call and a command contradict each other", "Use one of the two")
    if seconds is not None and not command and call is None:
        raise UsageError("--timeout is for a command or for --call", "Name one, or leave --timeout out")
    if command:
        spec = Spec("command", command, seconds)
    else:
        spec = Spec("function", [call or PRETENDED], seconds)
        split(spec.what[0])
    # Beside JSON on stdout the work's own output would be noise.
    return Pool(spec, jobs, stdout=2 if json else None)

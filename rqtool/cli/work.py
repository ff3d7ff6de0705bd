"""`rqtool work`."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from rqtool.cli.options import DEFAULT_QUEUE, ApiUrl, Json, Kind, QueueName, Quiet, Url
from rqtool.cli.output import talker
from rqtool.errors import UsageError

if TYPE_CHECKING:
    from rqtool.handlers import Handler
    from rqtool.working import Listener


def work(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- CMD [ARG]...]",
            help="Run this for each task, the body on stdin; an argument {} is replaced by the body. "
            "Without CMD: a second of pretended work per dot in the body.",
        ),
    ] = None,
    queue: QueueName = DEFAULT_QUEUE,
    prefetch: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, metavar="N", help="Unacknowledged tasks at once.", show_default="the number of jobs"
        ),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=1000, metavar="N", help="Tasks at work at once.")] = 1,
    drain: Annotated[
        bool, typer.Option("--drain", help="Exit when nothing is ready and no worker holds anything.")
    ] = False,
    max_tasks: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Exit after N tasks.", show_default="no limit")
    ] = None,
    type: Kind = None,  # noqa: A002 - its environment twin is named after it
    json: Json = False,
    quiet: Quiet = False,
    url: Url = None,
    api_url: ApiUrl = None,
) -> int:
    """Take tasks; acknowledge each one when its work is done."""
    import asyncio

    from rqtool.cli.events import JsonEvents, Lines
    from rqtool.handlers import Command, Dots
    from rqtool.management import Management
    from rqtool.options import WorkOptions
    from rqtool.settings import find_endpoint
    from rqtool.working import Working

    handler: Handler = Dots()
    if command:
        if shutil.which(command[0]) is None:
            raise UsageError(f"The command can't be run: {command[0]} is not there or not executable", "Correct it")
        # Beside JSON on stdout a command's own output would be noise.
        handler = Command(command, stdout=2 if json else None)
    say = talker(quiet=quiet)
    if any("{}" in argument and argument != "{}" for argument in command or []):
        say("only an argument that is {} and nothing else is replaced by the task; the others stay as they are")
    if prefetch is not None and prefetch < jobs:
        say(f"--prefetch {prefetch} keeps all but {prefetch} of {jobs} jobs idle")
    endpoint = find_endpoint(url, api_url)
    options = WorkOptions(queue=queue, kind=type, jobs=jobs, prefetch=prefetch, max_tasks=max_tasks, drain=drain)
    listener: Listener = JsonEvents() if json else Lines(quiet=quiet)
    working = Working(endpoint.urls, options, handler, listener, say=say, api=Management(endpoint.api_urls))
    if sys.stderr.isatty():
        say(f"waiting for tasks in {queue!r}; Ctrl-C ends after the task at work, a second one at once")
    asyncio.run(working.run())
    return 0

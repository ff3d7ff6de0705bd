"""`rqtool send`."""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rqtool.amqp.headers import COPY
from rqtool.cli.command import OUTPUT
from rqtool.cli.delay import At, Delay, check_delayed, parse_at, parse_delay, with_time
from rqtool.cli.options import DEFAULT_QUEUE, AcceptLoss, Json, Kind, QueueName, Quiet, parse_option, with_broker
from rqtool.durations import parse_duration
from rqtool.endpoint.urls import Endpoint
from rqtool.errors import RqtoolError, UsageError
from rqtool.output import complain, unwritable
from rqtool.text import is_text
from rqtool.topology import LONGEST_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rqtool.send.display import Display
    from rqtool.send.input import Batch
    from rqtool.send.report import Report
    from rqtool.send.sender import Sender

app = typer.Typer(rich_markup_mode=None, add_completion=False)

MOST_HEADERS = 100_000
"""Bytes: they share a frame of 128 KiB with the headers that a worker adds to a failed task."""
_RESERVED = {COPY, "CC", "BCC"}
"""The first identifies a returned task; the broker reads the others as lists of further queues."""


EXAMPLES = """\
\b
Examples:
  rqtool send "First task." "Second task.."    each argument is one task
  find . -name '*.wav' | rqtool send -q wav    each line of stdin is one task
  find . -print0 | rqtool send -0              tasks with line ends in them
  rqtool send --from tasks.txt --unsent rest   keep what was not confirmed
"""

_input = partial(typer.Option, rich_help_panel="Input")
_delivery = partial(typer.Option, rich_help_panel="Delivery")
_property = partial(typer.Option, rich_help_panel="Message properties")
_output = partial(typer.Option, rich_help_panel=OUTPUT)


@app.command(help=EXAMPLES)
@with_broker()
def send(
    *,
    tasks: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TASK]...", help="Each argument is one task; -q names the queue. Without TASK: the lines of stdin."
        ),
    ] = None,
    queue: QueueName = DEFAULT_QUEUE,
    type: Kind = None,  # noqa: A002 - its environment twin is named after it
    accept_loss: AcceptLoss = False,
    source: Annotated[
        str | None,
        _input(
            "--from",
            metavar="FILE",
            envvar="RQTOOL_SEND_FROM",
            help="One task per line of FILE; - is stdin.",
            show_default="- without TASK",
        ),
    ] = None,
    null: Annotated[bool, _input("--null", "-0", help="Tasks end at NUL instead of at line ends.")] = False,
    whole: Annotated[bool, _input("--whole", help="The whole input is one task.")] = False,
    skip: Annotated[int, _input(min=0, metavar="N", help="Skip the first N tasks.")] = 0,
    guarantee: Annotated[
        Literal["confirm", "tx", "none"],
        _delivery(help="confirm: the broker confirms each task; tx: transactions; none: fire and forget."),
    ] = "confirm",
    unsent: Annotated[
        Path | None, _delivery(metavar="FILE", help="Write the unconfirmed tasks to FILE, in input order.")
    ] = None,
    delay: Delay = None,
    at: At = None,
    give_up: Annotated[
        str | None,
        _delivery(
            metavar="DURATION",
            help="How long to retry while the broker is away, or rejects tasks.",
            show_default="30s; a single try if there never was a connection",
        ),
    ] = None,
    transient: Annotated[
        bool, _delivery("--transient", help="Don't store the tasks: they are lost when the broker restarts.")
    ] = False,
    ttl: Annotated[
        str | None, _property(metavar="DURATION", help="Drop a task that has waited this long.", show_default="never")
    ] = None,
    priority: Annotated[int | None, _property(min=0, max=255, metavar="N", help="For queues with priorities.")] = None,
    header: Annotated[
        list[str] | None, _property(metavar="K=V", help="A header for every task; may be repeated.", show_default=False)
    ] = None,
    content_type: Annotated[str | None, _property(metavar="TYPE", help="Such as application/json.")] = None,
    ids: Annotated[
        bool,
        _output(
            "--ids",
            help="Print only the id of each confirmed task, in input order. With --json: an object with the id and "
            "the start of each task, then the result.",
        ),
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    endpoint: Endpoint,
) -> int:
    import asyncio

    from rqtool.amqp.message import Envelope
    from rqtool.send.display import Display
    from rqtool.send.options import SendOptions
    from rqtool.send.report import json_line, sent_line
    from rqtool.send.sender import Sender
    from rqtool.send.unsent import UnsentFile

    if tasks and source is not None:
        raise UsageError("Tasks are named both on the command line and with --from", "Use one of the two")
    if whole and (tasks or null):
        raise UsageError("--whole takes the input as it is", "Leave the tasks and --null out")
    named = [os.fsencode(task) for task in tasks or []]
    end = b"" if whole else b"\0" if null else b"\n"
    if unsent is not None and any(not body or end in body or (body[-1:] == b"\r" and not null) for body in named):
        raise UsageError(
            "A task is empty or holds a line end, which --unsent can't write", "Add --null, or leave it out"
        )
    if content_type is not None and not (is_text(content_type) and len(content_type.encode()) <= LONGEST_NAME):
        raise UsageError("--content-type is too long, or not UTF-8", "Give a MIME type: text/plain")
    if delay is not None or at is not None:
        check_delayed(queue, guarantee, ttl, both=delay is not None and at is not None)
    options = SendOptions(
        queue=queue,
        kind=type,
        accept_loss=accept_loss,
        guarantee=guarantee,
        envelope=Envelope(
            transient=transient,
            priority=priority,
            headers=_headers(header or []),
            content_type=content_type,
            ttl=None if ttl is None else parse_option("--ttl", ttl, parse_duration),
        ),
        skip=skip,
        give_up=None if give_up is None else parse_option("--give-up", give_up, parse_duration),
        delay=parse_delay(delay),
        at=parse_at(at, time.time()),
    )
    unsent_file = None if unsent is None else UnsentFile(unsent, end)
    batches = [named] if named else _batches(source or "-", null=null, whole=whole, quiet=quiet)
    sent_one = with_time(sent_line, options.delay, options.at) if sys.stdout.isatty() else sent_line
    line = (json_line if json else attrgetter("token")) if ids else sent_one if named and not (quiet or json) else None
    display = Display(line, quiet=quiet, progress=not (named or quiet or json or ids or os.isatty(0)))
    if options.at is not None and options.at <= time.time():
        display.say(f"--at {at} is in the past: the tasks are delivered at once")
    try:
        report = asyncio.run(_send(Sender(endpoint, options, batches, display, unsent_file), endpoint, queue, display))
    finally:
        display.stop()
        unwritten = unsent_file.error if unsent_file else None
        if unwritten is not None:
            complain(str(unwritten))
    display.flush(at_once=bool(report.killed_by))
    if skip and report.complete and not (report.confirmed or report.unconfirmed):
        display.say(f"--skip {skip} leaves nothing to send: the input has no more tasks than that")
    form = " --whole" if whole else " --null" if null else ""
    error = report.error(unsent_file.path if unsent_file and unwritten is None else None, form)
    if json:
        display.print(report.json())
    elif not (named or quiet or ids or error):
        display.print(report.line())
    if error is not None:
        complain(str(error))
    if display.error is not None:
        sent = f"The tasks are sent, but the output can't be written: {display.error}"
        complain(str(unwritable(display.error) if error else RqtoolError(sent, "Don't send them again")))
    failed = display.error is not None or unwritten is not None
    return report.exit_code or (RqtoolError.exit_code if failed else 0)


async def _send(sender: Sender, endpoint: Endpoint, queue: str, display: Display) -> Report:
    """Send, and warn meanwhile of a policy that may drop what was sent."""
    import asyncio

    from rqtool.management.policies import warn_of_policies

    warning = asyncio.ensure_future(warn_of_policies(endpoint, [queue], display.warn))
    try:
        return await sender.run()
    finally:
        warning.cancel()


def _headers(pairs: list[str]) -> dict[str, str]:
    headers = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals) or not is_text(pair) or len(name.encode()) > LONGEST_NAME:
            raise UsageError(f"{pair!r} is no header", "Write --header NAME=VALUE")
        if name in _RESERVED:
            raise UsageError(f"The header {name} has a meaning of its own", "Use another name")
        headers[name] = value
    if sum(len(name.encode()) + len(value.encode()) + 6 for name, value in headers.items()) > MOST_HEADERS:
        raise UsageError("The headers are too large for a message", f"Give at most {MOST_HEADERS:,} bytes together")
    return headers


def _batches(source: str, *, null: bool, whole: bool, quiet: bool) -> Iterable[Batch]:
    from rqtool.send import input as inputs

    descriptor = inputs.open_input(source)
    if descriptor == 0 and not quiet and os.isatty(0):
        complain("reading tasks from the terminal, one per line; Ctrl-D ends")
    pieces = inputs.chunks(descriptor)
    return inputs.whole(pieces) if whole else inputs.split(pieces, null=null)

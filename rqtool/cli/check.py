"""`rqtool queues --check` on the command line: its limits, its report, and UNKNOWN for every error."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

import typer

from rqtool.cli.command import usage_error
from rqtool.cli.options import parse_option
from rqtool.durations import parse_duration
from rqtool.errors import RqtoolError
from rqtool.output import OutputError, complain, emit, unwritable

if TYPE_CHECKING:
    from rqtool.queues.check import Check

CHECKING = "Limits for --check"
checking = partial(typer.Option, rich_help_panel=CHECKING)
Format = Literal["nagios", "prometheus", "json"]

_LEVELS = {"warn": "WARNING", "crit": "CRITICAL"}
_LIMITED = {
    "ready": "messages are ready",
    "held": "messages are held without an ack",
    "stuck": "messages are held by suspects",
    "dead": "tasks are dead",
}


def limit(level: str, metric: str, default: str = "no limit") -> Any:
    return checking(
        min=0, metavar="N", help=f"{_LEVELS[level]} if more than N {_LIMITED[metric]}.", show_default=default
    )


def age_limit(level: str) -> Any:
    text = f"{_LEVELS[level]} if a message has been held for longer, or is ready and was sent longer ago."
    return checking(metavar="DURATION", help=text, show_default="no limit")


def format_in(args: Sequence[str]) -> Format:
    """The format that a command line asks for, even if it has an error elsewhere."""
    words = " ".join(args).replace("=", " ")
    return next((form for form in get_args(Format) if f"--format {form}" in words), "nagios")


@contextmanager
def unknown_at_errors(form: str | None) -> Iterator[None]:
    """Turn errors into UNKNOWN. `form`: the format of the report; None: this is not a check."""
    try:
        yield
    except (typer.Exit, typer.Abort, OutputError):
        raise
    except Exception as error:
        expected = isinstance(error, RqtoolError | typer.TyperException)
        if form is None or (not expected and os.environ.get("RQTOOL_DEBUG")):
            raise
        from rqtool.queues.check import Check, Status

        what = str(usage_error(error) if isinstance(error, typer.TyperException) else error)
        result = Check(Status.UNKNOWN, what if expected else f"Internal error: {type(error).__name__}: {what}")
        if form == "prometheus":
            complain(result.text)  # its format has no room for words
        raise typer.Exit(report(result, form)) from None


def report(result: Check, form: str) -> int:
    """Print the report of a check and return its exit code. A report that nobody can read is UNKNOWN."""
    from rqtool.queues.check import Status
    from rqtool.queues.check_formats import formatted

    try:
        emit(formatted(result, form))
    except OutputError as error:
        complain(str(unwritable(error)))
        return Status.UNKNOWN
    return result.status


def limits(level: str, age: str | None, **figures: int | None) -> dict[str, float]:
    """The limits that are given, by metric. Raises UsageError."""
    found: dict[str, float] = {metric: limit for metric, limit in figures.items() if limit is not None}
    return found if age is None else found | {"age": parse_option(f"--{level}-age", age, parse_duration)}

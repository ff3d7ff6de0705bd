"""What is drawn on a terminal: dead tasks and progress. rich is imported here and in its sisters alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rqtool.messages.listing import DeadTask
from rqtool.text import printable

ID_WIDTH = 36
"""A UUID's, which is what rqtool gives its tasks."""
WORKER_WIDE = 120
"""Columns of a terminal below which the worker's name makes room for the reason."""


def dead_table(tasks: Sequence[DeadTask], now: datetime, *, first: bool, width: int) -> Table:
    """A line per task, `first` a header; ids are whole, since they are what `--id` takes.

    The column widths are fixed, since a long list is drawn piece by piece.
    """
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True, show_header=first)
    table.add_column("id", overflow="fold", width=ID_WIDTH)
    table.add_column("age", justify="right", no_wrap=True, width=4)
    table.add_column("attempts", justify="right", no_wrap=True, width=8)
    wide = width >= WORKER_WIDE
    if wide:
        table.add_column("worker", no_wrap=True, width=20)
    table.add_column("reason", no_wrap=True, ratio=3)
    table.add_column("body", no_wrap=True, ratio=2)
    for task in tasks:
        table.add_row(
            Text(printable(task.id or "")),
            Text(task.age(now)),
            Text(task.attempts_shown()),
            *([Text(printable(task.worker or ""))] if wide else []),
            Text(printable(task.reason), style="yellow"),
            Text(task.shown),
        )
    return table


def dead_as_table(tasks: Sequence[DeadTask], now: datetime, *, first: bool) -> str:
    if not (tasks or first):
        return ""
    console = Console()
    with console.capture() as drawn:
        console.print(dead_table(tasks, now, first=first, width=console.width))
    return drawn.get()

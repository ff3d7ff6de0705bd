"""Dead tasks as a table on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rqtool.messages.listing import DeadTask
from rqtool.text import printable

ID_WIDTH = 36
"""A UUID, which is the id that rqtool gives a task."""
WORKER_WIDE = 120
"""Columns: a narrower terminal shows no worker, to leave room for the reason."""


def dead_table(tasks: Sequence[DeadTask], now: datetime, *, first: bool, width: int) -> Table:
    """Return a line per task, with `first` after a header. Ids are not cut: they are what `--id` takes.

    The columns have fixed widths, since a long list is drawn part by part.
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

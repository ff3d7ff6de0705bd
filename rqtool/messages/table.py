"""Dead tasks as a table on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rqtool.messages.listing import SHORT_ID, DeadTask
from rqtool.messages.summary import Summary
from rqtool.text import printable

ID_WIDTH = 36
"""A UUID, which is the id that rqtool gives a task."""
WIDE = 120
"""Columns: a narrower terminal shows shortened ids and no workers, to leave room for the reason."""


def dead_table(tasks: Sequence[DeadTask], now: datetime, *, first: bool, width: int) -> Table:
    """Return a line per task, with `first` after a header. Shows as much of an id as `--id` needs.

    The columns have fixed widths, since a long list is drawn part by part.
    """
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True, show_header=first)
    wide = width >= WIDE
    table.add_column("id", overflow="fold", width=ID_WIDTH if wide else SHORT_ID)
    table.add_column("age", justify="right", no_wrap=True, width=4)
    table.add_column("attempts", justify="right", no_wrap=True, width=8)
    if wide:
        table.add_column("worker", no_wrap=True, width=20)
    table.add_column("reason", no_wrap=True, ratio=5)
    table.add_column("body", no_wrap=True, ratio=4)
    for task in tasks:
        table.add_row(
            Text(printable((task.id if wide else task.short_id) or "")),
            Text(task.age(now)),
            Text(task.attempts_shown()),
            *([Text(printable(task.worker or ""))] if wide else []),
            Text(printable(task.why), style="yellow"),
            Text(task.shown),
        )
    return table


def summaries_as_table(summaries: Sequence[Summary], now: datetime) -> str:
    """Return a line per queue; empty without any."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("queue", overflow="fold", max_width=30)
    table.add_column("tasks", justify="right", no_wrap=True)
    table.add_column("oldest", justify="right", no_wrap=True)
    table.add_column("reasons", overflow="fold")
    for each in summaries:
        reasons = Text(printable(each.why), style="yellow")
        table.add_row(Text(printable(each.queue)), Text(f"{each.tasks:,}"), Text(each.age(now)), reasons)
    return _drawn(table) if summaries else ""


def dead_as_table(tasks: Sequence[DeadTask], now: datetime, *, first: bool) -> str:
    if not (tasks or first):
        return ""
    return _drawn(dead_table(tasks, now, first=first, width=Console().width))


def _drawn(table: Table) -> str:
    console = Console()
    with console.capture() as drawn:
        console.print(table)
    return drawn.get()

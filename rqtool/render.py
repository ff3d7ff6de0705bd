"""What is drawn on a terminal: dead tasks and progress. rich is imported here and in its sisters alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from types import TracebackType

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

from rqtool.listing import DeadTask
from rqtool.text import printable

WORKER_WIDE = 120
"""Columns of a terminal below which the worker's name makes room for the reason."""


def dead_table(tasks: Sequence[DeadTask], now: datetime, *, width: int) -> Table:
    """A line per task; ids are whole, since they are what `--id` takes."""
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    table.add_column("id", overflow="fold", max_width=36)
    table.add_column("age", justify="right", no_wrap=True)
    table.add_column("attempts", justify="right", no_wrap=True)
    wide = width >= WORKER_WIDE
    if wide:
        table.add_column("worker", no_wrap=True, max_width=30)
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


def print_dead(tasks: Sequence[DeadTask], now: datetime) -> None:
    console = Console()
    console.print(dead_table(tasks, now, width=console.width))


class SendProgress:
    """A line on the terminal while a stream is sent: how many are confirmed, and how fast."""

    def __init__(self) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.completed:,} confirmed {task.fields[rate]}"))
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=8)
        self._task = self._progress.add_task("send", total=None, rate="")
        self._started = time.monotonic()

    def __enter__(self) -> SendProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, confirmed: int) -> None:
        seconds = time.monotonic() - self._started
        rate = f"({confirmed / seconds:,.0f}/s)" if seconds > 1 else ""
        self._progress.update(self._task, completed=confirmed, rate=rate)

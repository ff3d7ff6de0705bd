"""What is drawn on a terminal: tables and progress. The only place that imports rich."""

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
from rqtool.management import Queue
from rqtool.text import printable

WIDE = 72
"""Columns of a terminal below which state and type make room for the names."""


def queue_table(queues: Sequence[Queue], *, vhosts: bool, width: int) -> Table:
    """The figures; names are data, never markup, and their control characters are spelled out."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    if vhosts:
        table.add_column("vhost", overflow="fold")
    table.add_column("name", overflow="fold", min_width=12)
    for figure in ("ready", "unacknowledged", "consumers"):
        table.add_column(figure, justify="right", no_wrap=True)
    wide = width >= WIDE
    if wide:
        table.add_column("state", no_wrap=True)
        table.add_column("type", no_wrap=True)
    for queue in queues:
        table.add_row(
            *([Text(printable(queue.vhost))] if vhosts else []),
            Text(printable(queue.name)),
            _figure(queue.messages_ready),
            _figure(queue.messages_unacknowledged, style="yellow"),
            _figure(queue.consumers),
            *([Text(queue.state or ""), Text(queue.type or "")] if wide else []),
        )
    return table


def print_queues(queues: Sequence[Queue], *, vhosts: bool) -> None:
    console = Console()
    console.print(queue_table(queues, vhosts=vhosts, width=console.width))


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


def _figure(count: int | None, style: str = "") -> Text:
    if count is None:
        return Text("?", style="dim")
    return Text(f"{count:,}", style=style if count else "dim")


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

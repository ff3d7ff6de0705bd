"""A line on the terminal while tasks are sent."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn


class SendProgress:
    """How many tasks are confirmed, and how fast; drawn until `stop`."""

    def __init__(self) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.completed:,} confirmed {task.fields[rate]}"))
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=8)
        self._task = self._progress.add_task("send", total=None, rate="")
        self._started = time.monotonic()
        self._progress.start()

    def show(self, confirmed: int) -> None:
        seconds = time.monotonic() - self._started
        rate = f"({confirmed / seconds:,.0f}/s)" if seconds > 1 else ""
        self._progress.update(self._task, completed=confirmed, rate=rate)

    def stop(self) -> None:
        self._progress.stop()

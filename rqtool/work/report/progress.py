"""Draws a worker's progress on the last line of the terminal, outside the scrolling region. So output, ours or that of
commands that write to the terminal themselves, scrolls above it and tears nothing. Codes:
https://vt100.net/docs/vt510-rm/DECSTBM.html, DECSC, DECRC.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field

from rqtool.amqp.errors import Lost
from rqtool.work.dispatch import Dispatcher
from rqtool.work.jobs import Jobs
from rqtool.work.report.bar import Bar, Figures
from rqtool.work.report.output import WorkerOutput
from rqtool.work.report.tally import Tally
from rqtool.work.session import Session

DRAW, ASK = 0.2, 1.0
"""Seconds between two updates from the worker, and between two requests to the broker."""
_FEWEST_LINES, _FEWEST_COLUMNS, _NO_ROOM = 3, 20, os.terminal_size((0, 0))
"""A smaller terminal, or one that does not know its size, has no bar."""
SAVE, RESTORE = "\x1b7", "\x1b8"
_MARGINS, _ALL, _CLEAR = "\x1b[1;{}r", "\x1b[r", "\x1b[{};1H\x1b[K"


def can_draw() -> bool:
    """Whether stderr is a terminal that supports these codes."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


@dataclass(slots=True)
class Progress:
    """Figures of a worker, drawn for as long as it runs."""

    session: Session
    jobs: Jobs
    dispatcher: Dispatcher
    tally: Tally
    out: WorkerOutput
    bar: Bar = field(default_factory=Bar)
    _ready: int | None = None
    _waiting: int = 0
    _size: os.terminal_size | None = None

    async def ask(self) -> None:
        """Ask the broker again and again how many tasks are ready, and how many wait for a retry. Never ends."""
        while True:
            if (subscription := self.session.subscription) is not None:
                with suppress(Lost):  # the worker opens another connection
                    self._ready = await subscription.count_ready()
                    self._waiting = await subscription.count_waiting()
            await asyncio.sleep(ASK)

    async def draw(self) -> None:
        """Draw again and again, and clean up at the end. Never ends."""
        drawn = ""
        try:
            while True:
                with suppress(OSError):
                    size = os.get_terminal_size(2)
                    if size.lines < _FEWEST_LINES or size.columns < _FEWEST_COLUMNS:
                        size = _NO_ROOM
                    line = self.bar.line(self._figures, time.monotonic(), size.columns - 1)
                    if size is not _NO_ROOM and (line, size) != (drawn, self._size) and not self.out.is_waiting:
                        self.out.draw(self._make_room(size) + f"{SAVE}{_CLEAR.format(size.lines)}{line}{RESTORE}")
                        drawn = line
                await asyncio.sleep(DRAW)
        finally:
            if self._size is not None:
                self.out.draw(f"{SAVE}{_ALL}{_CLEAR.format(self._size.lines)}{RESTORE}")

    def _make_room(self, size: os.terminal_size) -> str:
        """Let all lines scroll but the last one. The cursor, which may be there, moves above it."""
        if size == self._size:
            return ""
        before, self._size = self._size, size
        clear = f"{SAVE}{_CLEAR.format(before.lines)}{RESTORE}" if before is not None else ""
        return f"{clear}\n{SAVE}{_MARGINS.format(size.lines - 1)}{RESTORE}\x1b[A"

    @property
    def _figures(self) -> Figures:
        count = self.jobs.count
        here = count["waiting"] + count["handed over"] + count["withdrawn"]
        left = None if self._ready is None else self._ready + here
        pause = self.dispatcher.pause_left
        return Figures(self.tally.done, self.tally.failed, count["running"], left, pause, self._waiting)

"""What a worker writes: at once where it can, and it never waits for whoever reads."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

from rqtool.output import Output, OutputError, explain
from rqtool.text import printable

SAID_AFTER = 10.0
"""Seconds that somebody may take to read on, before it is said that nobody does."""


class WorkerOutput:
    """stdout is data; stderr is talk, of which `quiet` leaves out what `say` is given."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._stdout = Output(1)
        self._stderr = Output(2)
        self._waiting: set[Output] = set()
        self._changed: Callable[[], None] = lambda: None
        self.error: OutputError | None = None
        """Why stdout can't be written, found out when nobody was asking."""

    @property
    def is_waiting(self) -> bool:
        """Whether somebody does not read what was written."""
        return bool(self._waiting)

    def on_change(self, changed: Callable[[], None]) -> None:
        """Have it called when all was read, or can't be written after all."""
        self._changed = changed

    def emit(self, line: str) -> None:
        """Write a line of data. Raises OutputError."""
        try:
            self._stdout.write(_encoded(f"{line}\n", sys.stdout))
        except OSError as error:
            raise OutputError(explain(error)) from None
        self._wait_for(self._stdout)

    def complain(self, text: str) -> None:
        """Write a line for people, whatever the text holds: the work does not depend on who listens."""
        with suppress(OSError):
            self._stderr.write(_encoded(f"rqtool: {printable(text)}\n", sys.stderr))
            self._wait_for(self._stderr)

    def say(self, text: str) -> None:
        if not self._quiet:
            self.complain(text)

    def _say_that_nobody_reads(self) -> None:
        if self._stdout in self._waiting and self._stderr not in self._waiting:
            self.complain("nobody reads the output: no task begins until somebody does")

    def _wait_for(self, output: Output) -> None:
        if output.is_waiting and output not in self._waiting:
            with suppress(RuntimeError):  # before the loop and after it nothing waits for what is written
                loop = asyncio.get_running_loop()
                loop.add_writer(output, self._go_on, output)
                self._waiting.add(output)
                if output is self._stdout:
                    loop.call_later(SAID_AFTER, self._say_that_nobody_reads)

    def _go_on(self, output: Output) -> None:
        try:
            output.flush()
        except OSError as error:
            if output is self._stdout:
                self.error = OutputError(explain(error))
        if not output.is_waiting:
            self._waiting.discard(output)
            asyncio.get_running_loop().remove_writer(output)
            self._changed()


def _encoded(text: str, stream: TextIO | None) -> bytes:
    # A terminal without UTF-8 is no reason to fail.
    return text.encode((stream and stream.encoding) or "utf-8", errors="backslashreplace")

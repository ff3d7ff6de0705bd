"""A worker's stdout and stderr: written at once where they can be, without ever waiting for their readers."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

from rqtool.errors import RqtoolError
from rqtool.output import Output, explain, unwritable
from rqtool.text import printable

SAID_AFTER = 10.0
"""Seconds without a reader before the user hears of it."""


class WorkerOutput:
    """stdout is data; stderr is talk, of which `quiet` leaves out what `say` is given.

    `error`: why stdout can't be written; no call here raises it.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._stdout = Output(1)
        self._stderr = Output(2)
        self._waiting: set[Output] = set()
        self._changed: Callable[[], None] = lambda: None
        self.error: RqtoolError | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether something that was written is still unread."""
        return bool(self._waiting)

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed` when all was read, or when stdout can't be written."""
        self._changed = changed

    def emit(self, line: str) -> None:
        """Write a line of data."""
        try:
            self._stdout.write(_encoded(f"{line}\n", sys.stdout))
        except OSError as error:
            self.error = unwritable(explain(error))
            self._changed()
        else:
            self._wait_for(self._stdout)

    def complain(self, text: str) -> None:
        """Write a line for people. Never fails: the work does not depend on readers."""
        with suppress(OSError):
            self._stderr.write(_encoded(f"rqtool: {printable(text)}\n", sys.stderr))
            self._wait_for(self._stderr)

    def draw(self, codes: str) -> None:
        """Write codes for the terminal to stderr."""
        with suppress(OSError):
            self._stderr.write(codes.encode())
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
                self.error = unwritable(explain(error))
        if not output.is_waiting:
            self._waiting.discard(output)
            asyncio.get_running_loop().remove_writer(output)
            self._changed()


def _encoded(text: str, stream: TextIO | None) -> bytes:
    # A terminal without UTF-8 is no reason to fail.
    return text.encode((stream and stream.encoding) or "utf-8", errors="backslashreplace")

"""A worker's stdout and stderr: written at once if possible, without ever waiting for their readers."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

from rqtool.errors import RqtoolError
from rqtool.output import Content, Output, explain, unwritable
from rqtool.text import printable

SAID_AFTER = 10.0
"""Seconds without a reader before a message says so."""


class WorkerOutput:
    """stdout is for data, stderr for messages; `quiet` suppresses those of `say`. `error`: why stdout can't be written;
    no call here raises it. `data_only`: the stdout of tasks would be noise on ours, and goes to stderr.
    """

    def __init__(self, *, quiet: bool, data_only: bool = False) -> None:
        self._quiet = quiet
        self._stdout = Output(1)
        # If both are the same, as after 2>&1, output waiting on one must not be torn by the other.
        self._stderr = self._stdout if os.path.sameopenfile(1, 2) else Output(2)
        self._stdout_of_work = self._stderr if data_only else self._stdout
        self._waiting: set[Output] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._changed: Callable[[], None] = lambda: None
        self.error: RqtoolError | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether written output is still unread."""
        return bool(self._waiting)

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed` when everything has been read, or when stdout can't be written."""
        self._changed = changed

    def emit(self, line: str) -> None:
        """Write a line of data."""
        self._write(self._stdout, _encoded(f"{line}\n", sys.stdout))

    def complain(self, text: str) -> None:
        """Write a line for people."""
        self.draw(f"rqtool: {printable(text)}\n")

    def draw(self, text: str) -> None:
        """Write to stderr as it is. Never fails: the work does not depend on readers."""
        with suppress(OSError):
            self._stderr.write(_encoded(text, sys.stderr))
            self._wait_for(self._stderr)

    def hand_on(self, stream: int, content: Content) -> None:
        """Write a task's output to stdout (1) or stderr (2)."""
        self._write(self._stdout_of_work if stream == 1 else self._stderr, content)

    def fail(self, why: str) -> None:
        """Some output for stdout is lost."""
        self.error = self.error or unwritable(why)
        self._changed()

    def _write(self, output: Output, content: Content) -> None:
        try:
            output.write(content)
        except OSError as error:
            if output is self._stdout:
                self.fail(explain(error))
        else:
            self._wait_for(output)

    def say(self, text: str) -> None:
        if not self._quiet:
            self.complain(text)

    def _look_for_a_reader(self) -> None:
        """Say so if nothing is read for long; a slow reader is fine."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._stdout in self._waiting:
            self._alarm = asyncio.get_running_loop().call_later(SAID_AFTER, self._say_that_nobody_reads)

    def _say_that_nobody_reads(self) -> None:
        if self._stderr not in self._waiting:
            self.complain("nobody reads the output: no task begins until somebody does")

    def _wait_for(self, output: Output) -> None:
        if output.is_waiting and output not in self._waiting:
            with suppress(RuntimeError):  # before the loop and after it, nothing waits for the output
                self._go_on_later(output)
                self._waiting.add(output)
                self._look_for_a_reader()

    def _go_on_later(self, output: Output) -> None:
        """Raises RuntimeError if no loop is running."""
        loop = asyncio.get_running_loop()
        try:
            loop.add_writer(output, self._go_on, output)
        except PermissionError:  # a file
            loop.call_soon(self._go_on, output)

    def _go_on(self, output: Output) -> None:
        self._waiting.discard(output)
        asyncio.get_running_loop().remove_writer(output)
        self._write(output, b"")
        if not output.is_waiting:
            self._look_for_a_reader()
            self._changed()


def _encoded(text: str, stream: TextIO | None) -> bytes:
    # A terminal without UTF-8 is no reason to fail.
    return text.encode((stream and stream.encoding) or "utf-8", errors="backslashreplace")

"""The output of `send` while it runs."""

from __future__ import annotations

import sys
from collections.abc import Callable

from rqtool.amqp.window import Message
from rqtool.output import LAST_SECONDS, OutputError, emit, is_writable, put, talker


class Display:
    """Prints a `line` for each confirmed task, or shows progress on a terminal."""

    def __init__(self, line: Callable[[Message], str] | None, *, quiet: bool, progress: bool) -> None:
        self.say = talker(quiet=quiet)
        self.warning = ""
        """Printed with the first confirmed task: until then, an error may be the only thing to print."""
        self._warned: set[str] = set()
        self._line = line
        self._lines: list[str] = []
        self._count = 0
        self.error: OutputError | None = None
        self._progress = None
        if progress and sys.stderr.isatty():
            from rqtool.send.progress import SendProgress

            self._progress = SendProgress()

    def warn(self, text: str) -> None:
        """Say it once."""
        if text not in self._warned:
            self._warned.add(text)
            self.say(text)

    def confirmed(self, messages: list[Message]) -> None:
        self._count += len(messages)
        if messages and self.warning:
            self.warn(self.warning)
            self.warning = ""
        if self._line is not None and self.error is None:
            self._lines += map(self._line, messages)
        if self._progress is not None:
            self._progress.show(self._count)

    def stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()

    @property
    def is_behind(self) -> bool:
        return bool(self._lines)

    async def catch_up(self) -> None:
        lines, self._lines = self._lines, []
        try:
            await put("\n".join([*lines, ""]))
        except OutputError as error:
            self.error = error

    def flush(self, *, at_once: bool) -> None:
        """Print what has not been written yet; `at_once`: unless its reader would block us."""
        if at_once and self.error is None and not is_writable(1, LAST_SECONDS):
            self.error = OutputError("nobody reads it")
        if self._lines:
            self.print("\n".join(self._lines))
            self._lines = []

    def print(self, line: str) -> None:
        """Print a line, or keep the error for the end: an output that can't be written must not stop the sending."""
        if self.error is None:
            try:
                emit(line)
            except OutputError as error:
                self.error = error

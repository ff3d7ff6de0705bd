"""Passes on the output of one lane's tasks, and holds each result back until its task's output has been written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from rqtool.errors import RqtoolError
from rqtool.output import Content, explain
from rqtool.run.channel import receive_output
from rqtool.run.encoding import Answer
from rqtool.run.lane import Entry
from rqtool.run.outcome import Done, OutputGone
from rqtool.run.runner import Runner

_AT_ONCE = 64
"""Pieces of output before other work gets a turn."""
_TOGETHER = 65_536
"""Bytes to which short pieces are joined before they are written."""


class WorkOutput(Protocol):
    """The worker's stdout and stderr, as far as tasks write to them."""

    @property
    def is_waiting(self) -> bool:
        """Whether some output has not been written yet; `Pool.output_changed` is called when it has been."""

    error: RqtoolError | None
    """Why nothing can be written any more."""

    def hand_on(self, stream: int, content: Content) -> None:
        """Write a task's output to stdout (1) or stderr (2)."""

    def fail(self, why: str) -> None:
        """Some of a task's output is lost."""


class Relay:
    """`end` is called with each task that has ended, and its answer. Without an `output` tasks have our own streams."""

    def __init__(self, output: WorkOutput | None, end: Callable[[Entry, Answer], None]) -> None:
        self._output = output
        self._end = end
        self._runner: Runner | None = None
        self._is_reading = self._is_asked = False
        self._handed_on = 0
        self._held: list[tuple[Entry, Answer]] = []

    @property
    def has_room(self) -> bool:
        return self._output is None or not self._output.is_waiting

    def follow(self, runner: Runner) -> None:
        """From now on, pass on the output of this runner's tasks."""
        self._runner, self._handed_on = runner, 0
        self.go_on()

    def leave(self) -> None:
        """Pass on the output that an ended runner left in its socket."""
        while self._output is not None and self._take(self._output):
            pass
        self._close()
        self._held = [(entry, Answer(answer.outcome, 0, answer.written)) for entry, answer in self._held]
        self.go_on()

    def ended(self, entry: Entry, answer: Answer) -> None:
        """A task has ended; its output may still be unread."""
        if not answer.last or self._output is None:
            self._end(entry, answer)
            return
        self._held.append((entry, answer))
        self.go_on()

    def go_on(self) -> None:
        """Pass on as much output as there is room for, and `report`."""
        if (output := self._output) is None:
            return
        if output.error is not None:
            self._close()  # so that the runner's commands get a SIGPIPE
        takes = 0
        while not output.is_waiting and takes < _AT_ONCE and self._take(output):
            takes += 1
        self._read(wanted=not (self._is_asked or output.is_waiting))
        self.report()

    def read_when_asked(self, asked: bool) -> None:
        """Whether output is read only by `go_on`, and when a task has ended."""
        self._is_asked = asked
        if not asked:
            self.go_on()

    def report(self) -> None:
        """Report the tasks that have ended and whose output has been written."""
        if (output := self._output) is None or output.is_waiting or not self._held:
            return
        held, self._held = self._held, []
        for entry, answer in held:
            if output.error is not None:
                gone = isinstance(answer.outcome, Done)
                outcome = OutputGone(output.error.what) if gone else answer.outcome
                self._end(entry, Answer(outcome, answer.last, answer.written))
            elif answer.last <= self._handed_on:
                self._end(entry, answer)
            else:
                self._held.append((entry, answer))

    def _close(self) -> None:
        self._read(wanted=False)
        if self._runner is not None:
            self._runner.outputs.close()
            self._runner = None

    def _take(self, output: WorkOutput) -> bool:
        """Pass on the next output, with short pieces joined. Returns whether there was any."""
        pieces: list[bytes] = []
        stream = size = 0
        while size < _TOGETHER and (taken := self._receive(output)) is not None:
            size += 1
            if pieces and (taken[0] != stream or not isinstance(taken[1], bytes)):
                output.hand_on(stream, b"".join(pieces))
                pieces.clear()
            stream, content = taken
            if not isinstance(content, bytes):
                output.hand_on(stream, content)
                return True
            pieces.append(content)
            size += len(content)
        if pieces:
            output.hand_on(stream, b"".join(pieces))
        return size > 0

    def _receive(self, output: WorkOutput) -> tuple[int, Content] | None:
        try:
            taken = None if self._runner is None else receive_output(self._runner.outputs)
        except OSError as error:
            output.fail(explain(error))
            return None
        self._handed_on += taken is not None
        return taken

    def _read(self, *, wanted: bool) -> None:
        if wanted is self._is_reading or self._runner is None:
            return
        self._is_reading = wanted
        loop = asyncio.get_running_loop()
        if wanted:
            loop.add_reader(self._runner.outputs, self.go_on)
        else:
            loop.remove_reader(self._runner.outputs)

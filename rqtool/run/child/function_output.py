"""stdout and stderr of a function's process, whose output goes to the worker.

Output of Python code is passed on at once, under its task's name; context variables tell the tasks of an async function
apart. Output of other code, such as a process that the function starts, waits in a file for the next line or the end of
the task. A pipe would need a thread, and could fill up while the function keeps that thread from reading.
"""

from __future__ import annotations

import fcntl
import io
import os
import signal
import sys
import threading
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING

from rqtool.output import OutputError, Unbuffered, line_buffered, open_for_function
from rqtool.run.channel import Taken
from rqtool.run.child.outlet import Outlet, TaskOutput, new_file

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_LARGE = 1 << 26
"""Bytes of the file after which it is emptied: output that arrives at that very moment could be lost."""


class FunctionOutput:
    """Replaces the standard streams of this process."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._own = self._shared = outlet.of_task(None)
        self._unfinished: set[TaskOutput] = set()
        self._of_task: ContextVar[TaskOutput | None] = ContextVar("output", default=None)
        self._read_to = 0
        self._lock = threading.RLock()  # signal handlers print too
        with new_file() as file:
            os.dup2(file.fileno(), 1)
        fcntl.fcntl(1, fcntl.F_SETFL, fcntl.fcntl(1, fcntl.F_GETFL) | os.O_APPEND)
        open_for_function(self._stream)
        os.register_at_fork(after_in_child=self._leave)
        signal.signal(signal.SIGTERM, self._terminate)

    def begin(self, taken: Taken, *, is_async: bool) -> TaskOutput:
        """A task begins, in the current context, or, if it is not async, in the whole process. Reopens streams that an
        earlier task has closed.
        """
        open_for_function(self._stream)
        for stream in (sys.stdout, sys.stderr):
            if is_async and isinstance(stream, io.TextIOWrapper):
                # Buffered output would be attributed to whichever task fills the buffer.
                stream.reconfigure(write_through=True)
        output = self._outlet.of_task(taken)
        self._unfinished.add(output)
        if is_async:
            self._of_task.set(output)
        else:
            self._shared = output
        return output

    def _stream(self, number: int) -> _Stream:
        return _Stream(self, number)

    def end(self, output: TaskOutput) -> None:
        """Pass on the rest of a finished task's output."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # the function can have replaced it
                stream.flush()
        with self._lock:
            self._take_file()
            output.end()
            self._unfinished.discard(output)
            if self._shared is output:
                self._shared = self._own

    def write(self, stream: int, data: bytes) -> None:
        """Raises OutputError if stdout can't be written."""
        output = self._of_task.get() or self._shared
        with self._lock:
            if stream == 1:
                self._take_file()
            output.write(stream, data)
        if output.trouble and stream == 1:
            raise OutputError(output.trouble.why)

    def _terminate(self, number: int, frame: object) -> None:  # noqa: ARG002
        """Die of a signal, as without rqtool, but only after passing on the output of tasks so far."""
        for output in list(self._unfinished):
            self.end(output)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _leave(self) -> None:
        """A fork can't reach the worker: its output goes to the file, or to the worker's stderr."""
        if signal.getsignal(signal.SIGTERM) == self._terminate:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.stdout = line_buffered(Unbuffered(1), sys.stdout)
        sys.stderr = line_buffered(Unbuffered(2), sys.stderr)

    def _take_file(self) -> None:
        """Pass on what other code wrote to our stdout."""
        size = os.fstat(1).st_size
        while self._read_to < size:
            data = os.pread(1, min(size - self._read_to, 65536), self._read_to)
            self._read_to += len(data)
            self._shared.write(1, data)
        if size > _LARGE:
            os.ftruncate(1, 0)
            self._read_to = 0


class _Stream(io.RawIOBase):
    def __init__(self, output: FunctionOutput, number: int) -> None:
        self._output = output
        self._number = number
        self.name = ("<stdout>", "<stderr>")[number - 1]

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def write(self, data: ReadableBuffer, /) -> int:
        content = bytes(memoryview(data))
        self._output.write(self._number, content)
        return len(content)

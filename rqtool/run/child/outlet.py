"""The runner's end of the channel that carries the output of tasks to the worker: see rqtool.run.channel.

It numbers its datagrams from 1; an answer says which one was the last of its task.
"""

from __future__ import annotations

import errno
import io
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from rqtool.output import Content, explain
from rqtool.run.channel import Taken, file_with, send_output
from rqtool.run.encoding import Spec
from rqtool.run.outcome import OutputGone, Shortage, shortage

IN_MEMORY = 131_072
"""Bytes, two reads of a pipe; longer output waits in an unlinked temporary file."""
LONGEST_TAG = 256


class Outlet:
    """The runner's end. With a blocking socket, nothing ever waits here."""

    def __init__(self, outputs: socket.socket, spec: Spec) -> None:
        self._socket = outputs
        self._spec = spec
        self._waiting: deque[tuple[int, Content]] = deque()
        self._last = 0
        self.sent = 0
        """The number of the last datagram sent."""
        self.gone = ""
        """Why the worker accepts no more."""
        if spec.output != "direct":
            import tempfile  # 20 ms

            with suppress(OSError):
                tempfile.gettempdir()  # which is remembered: without a free descriptor none would be found

    def of_task(self, taken: Taken | None) -> TaskOutput:
        """Return where a task writes; None: the process itself."""
        tag = tag_of(taken.start(LONGEST_TAG + 1)) if self._spec.tag and taken is not None else b""
        return TaskOutput(self, tag, whole=self._spec.output == "group" and taken is not None)

    @property
    def is_waiting(self) -> bool:
        return bool(self._waiting)

    def fileno(self) -> int:
        """Return a descriptor that is writable when `flush` can make progress."""
        return self._socket.fileno()

    def write(self, stream: int, content: Content) -> int:
        """Send it now, or as soon as `flush` can. Returns its number."""
        self._last += 1
        if not self.gone:
            self._waiting.append((stream, content))
            self.flush()
        return self._last

    def flush(self) -> None:
        try:
            while self._waiting:
                send_output(self._socket, *self._waiting[0])
                self._waiting.popleft()
                self.sent += 1
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ENOBUFS):  # Linux, macOS
                self.gone = explain(error)
                self._waiting.clear()


class TaskOutput:
    """The output of one task, on stdout (1) and stderr (2)."""

    __slots__ = ("_outlet", "_spools", "_trouble", "last")

    def __init__(self, outlet: Outlet, tag: bytes, *, whole: bool) -> None:
        self._outlet = outlet
        self._spools = Spool(tag, whole=whole), Spool(tag, whole=whole)
        self.last = 0
        """The number of the last datagram with output of this task; 0: none."""
        self._trouble: OutputGone | Shortage | None = None

    @property
    def written(self) -> int:
        """Bytes of its stdout."""
        return self._spools[0].size

    @property
    def is_on_its_way(self) -> bool:
        """Whether none of it is waiting any more."""
        return self._outlet.sent >= self.last or self.trouble is not None

    @property
    def trouble(self) -> OutputGone | Shortage | None:
        """Why some of it is lost, which is no verdict on the task."""
        is_gone = self._outlet.gone and self._outlet.sent < self.last
        return OutputGone(self._outlet.gone) if is_gone and self._trouble is None else self._trouble

    def write(self, stream: int, data: bytes) -> None:
        self._hand_over(stream, self._spools[stream - 1].feed, data)

    def end(self) -> None:
        """Send the rest, unless some of it is lost, since then the task runs again. Idempotent."""
        if self._trouble:
            return
        for stream, spool in enumerate(self._spools, start=1):
            self._hand_over(stream, spool.end)

    def _hand_over(self, stream: int, next_of: Callable[..., Content | None], *data: bytes) -> None:
        try:
            content = next_of(*data)
        except OSError as error:
            is_short = error.errno in (errno.EMFILE, errno.ENFILE)  # others have them, and will give them back
            self._trouble = shortage(error) if is_short else OutputGone(f"{explain(error)} in the temporary folder")
        else:
            if content is not None:
                self.last = self._outlet.write(stream, content)


class Spool:
    """Output of a task on one stream that is yet to be passed on: at the next line end, or all of it at the end.

    `tag` goes before each line. `whole`: nothing is passed on before `end`, and then as it was written.
    """

    def __init__(self, tag: bytes, *, whole: bool) -> None:
        self._tag = tag
        self._whole = whole
        self._memory = bytearray()
        self._file: io.FileIO | None = None
        self._is_in_line = False
        self.size = 0
        """Bytes that were fed."""

    def feed(self, data: bytes) -> Content | None:
        """Take new output; return the part that can be passed on. Raises OSError."""
        self.size += len(data)
        if self._tag and data:
            data = self._tagged(data)
        end = 0 if self._whole else data.rfind(b"\n") + 1
        if not end:
            self._keep(data)
            return None
        ready: Content | None = data[:end]
        if self._memory or self._file:
            self._keep(data[:end])
            ready = self._take()
        if end < len(data):
            self._keep(data[end:])
        return ready

    def end(self) -> Content | None:
        """Return the rest. Output after the end is passed on line by line. Raises OSError."""
        if not self._whole and (self._memory or self._file):
            self._keep(b"\n")  # or the first line of another task would join this one
        self._whole = self._is_in_line = False
        return self._take()

    def _tagged(self, data: bytes) -> bytes:
        before = b"" if self._is_in_line else self._tag
        self._is_in_line = not data.endswith(b"\n")
        return before + data[:-1].replace(b"\n", b"\n" + self._tag) + data[-1:]

    def _keep(self, data: bytes) -> None:
        if self._file is None and len(self._memory) + len(data) <= IN_MEMORY:
            self._memory += data
            return
        if self._file is None:
            self._file = new_file()
            data = bytes(self._memory) + data
            self._memory.clear()
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]

    def _take(self) -> Content | None:
        file, self._file = self._file, None
        if file is not None:
            file.seek(0)
            return file
        ready = bytes(self._memory)
        self._memory.clear()
        return ready or None


def new_file() -> io.FileIO:
    """A file for output; in memory where no folder takes temporary files, as in a container whose file system is
    read-only. Raises OSError.
    """
    import tempfile

    try:
        return tempfile.TemporaryFile(buffering=0)
    except FileNotFoundError:
        return io.FileIO(file_with(b""), "r+")


def tag_of(body: bytes) -> bytes:
    """Return what `--tag` puts before each line of a task: its first line, of at most LONGEST_TAG bytes, and a TAB."""
    first = body[: LONGEST_TAG + 1].split(b"\n", 1)[0]
    if len(first) > LONGEST_TAG:
        first = first[: LONGEST_TAG - 3].decode(errors="ignore").encode() + "…".encode()
    return first + b"\t"

"""A runner's end of the way that what tasks write takes to the worker: see rqtool.run.channel.

Its datagrams are numbered from 1: an answer says which one was the last of its task.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from rqtool.output import Content, explain
from rqtool.run.channel import Taken, send_output
from rqtool.run.child.spool import LONGEST_TAG, Spool, tag_of
from rqtool.run.encoding import Spec
from rqtool.run.outcome import OutputGone, Shortage, shortage


class Outlet:
    """A runner's end. Where the socket blocks, nothing is ever waiting here."""

    def __init__(self, outputs: socket.socket, spec: Spec) -> None:
        self._socket = outputs
        self._spec = spec
        self._waiting: deque[tuple[int, Content]] = deque()
        self._last = 0
        self.sent = 0
        """The number of the last one that is on its way."""
        self.gone = ""
        """Why the worker takes no more."""
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
        """Hand it over now, or as soon as `flush` can. Returns its number."""
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
    """What one task writes to stdout (1) and stderr (2)."""

    __slots__ = ("_outlet", "_spools", "_trouble", "last")

    def __init__(self, outlet: Outlet, tag: bytes, *, whole: bool) -> None:
        self._outlet = outlet
        self._spools = Spool(tag, whole=whole), Spool(tag, whole=whole)
        self.last = 0
        """The number of the last datagram that holds something of it; 0: none does."""
        self._trouble: OutputGone | Shortage | None = None

    @property
    def written(self) -> int:
        """Bytes of its stdout."""
        return self._spools[0].size

    @property
    def is_on_its_way(self) -> bool:
        """Whether nothing of it waits any more."""
        return self._outlet.sent >= self.last or self.trouble is not None

    @property
    def trouble(self) -> OutputGone | Shortage | None:
        """Why some of it is lost, which is no verdict on the task."""
        is_gone = self._outlet.gone and self._outlet.sent < self.last
        return OutputGone(self._outlet.gone) if is_gone and self._trouble is None else self._trouble

    def write(self, stream: int, data: bytes) -> None:
        self._hand_over(stream, self._spools[stream - 1].feed, data)

    def end(self) -> None:
        """Hand over what is left, unless some of it is lost: the task will be done again. Idempotent."""
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

"""Non-blocking writes to a standard stream."""

from __future__ import annotations

import os
import select
import stat
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

_PIECE = getattr(select, "PIPE_BUF", 512)
"""Bytes that a pipe takes at once when it is writable (pipe(7))."""


class Output:
    """A stream, and what could not be written to it yet.

    A pipe or terminal is opened anew: set to non-blocking in place, it would be so for all who share it. Where that
    can't be, it is written in pieces that it has room for.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._piece = _PIECE
        self._waiting: deque[memoryview] = deque()
        self._socket: socket.socket | None = None
        with suppress(OSError):
            self._open_anew(descriptor)

    def _open_anew(self, descriptor: int) -> None:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
            self._descriptor = os.open(f"/proc/self/fd/{descriptor}", flags)
            self._piece = 65536
        elif stat.S_ISSOCK(mode):
            import socket

            self._socket = socket.socket(fileno=os.dup(descriptor))
            self._piece = 65536
        else:
            self._piece = 1 << 30

    @property
    def is_waiting(self) -> bool:
        """Whether something could not be written yet."""
        return bool(self._waiting)

    def fileno(self) -> int:
        """Writable when `flush` gets further."""
        return self._descriptor

    def write(self, data: bytes) -> None:
        """Write it now, or as soon as `flush` can. Raises OSError where nobody can ever read it."""
        self._waiting.append(memoryview(data))
        self.flush()

    def flush(self) -> None:
        """Write what can be written now. Raises OSError, and forgets what waits, where nobody can ever read it."""
        try:
            while self._waiting:
                written = self._write(self._waiting[0][: self._piece])
                if not written:
                    return
                rest = self._waiting[0][written:]
                if rest:
                    self._waiting[0] = rest
                else:
                    self._waiting.popleft()
        except OSError:
            self._waiting.clear()
            raise

    def _write(self, piece: memoryview) -> int:
        """Return how much was written; 0: the stream takes nothing for now."""
        try:
            if self._socket is not None:
                import socket

                return self._socket.send(piece, socket.MSG_DONTWAIT)
            if self._piece == _PIECE and not is_writable(self._descriptor):
                return 0
            return os.write(self._descriptor, piece)
        except BlockingIOError:
            return 0


def is_writable(descriptor: int, seconds: float = 0.0) -> bool:
    """Whether something can be written there, now or within so many seconds, or never can, which a write will tell."""
    poll = select.poll()  # select() can't look at descriptors above 1023
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(max(seconds, 0.0) * 1000))


def reader_is_gone(descriptor: int) -> bool:
    """Whether nobody will ever read what is written to a pipe, socket or terminal."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))

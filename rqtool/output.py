"""The standard streams as rqtool uses them: closed ones are /dev/null, nothing stays in a buffer, and a worker's writes
never block.

What a buffer still holds after an error is written once more when Python exits, and fails once more: with a traceback
and the exit code 120.
"""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import sys
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from rqtool.errors import RqtoolError

if TYPE_CHECKING:
    import socket

    from _typeshed import ReadableBuffer

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


class OutputError(OSError):
    """stdout can't be written; `str()` says why."""


def unwritable(why: object) -> RqtoolError:
    return RqtoolError(f"The output can't be written: {why}", "Send it elsewhere")


def explain(error: OSError) -> str:
    """Say in a few words why a stream can't be written."""
    return "its reader is gone" if error.errno == errno.EPIPE else (error.strerror or "").lower()


class _Descriptor(io.FileIO):
    """Writes all that it is given, at once."""

    def write(self, data: ReadableBuffer, /) -> int:
        rest = memoryview(data).cast("B")
        while rest:
            # None: a program that shares our terminal or pipe has made it non-blocking.
            written: int | None = super().write(rest)
            if written is None:
                select.select([], [self], [])
            else:
                rest = rest[written:]
        return memoryview(data).nbytes


class _Data(_Descriptor):
    def write(self, data: ReadableBuffer, /) -> int:
        """Raises OutputError."""
        try:
            return super().write(data)
        except OSError as error:
            raise OutputError(explain(error)) from None


class _Talk(_Descriptor):
    def write(self, data: ReadableBuffer, /) -> int:
        """Never raises: the work does not depend on who listens."""
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def take_standard_numbers() -> None:
    """Open /dev/null in the place of each standard stream that is closed.

    A file or socket of ours that got its number would be read as our input, or written to as our output.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def prepare_stdout() -> None:
    """Have what is written to sys.stdout go out at once. A write that fails raises OutputError."""
    if sys.stdout is sys.__stdout__:  # else somebody has put their own in its place
        sys.stdout = _text(_Data(1, "w", closefd=False), sys.stdout)


def prepare_stdout_of_function() -> None:
    """Have each line that a function prints go out at once, and whole. A write that fails raises OutputError.

    Whole: unbuffered (PYTHONUNBUFFERED), print() would write a line and its end apart, and those of other jobs come
    between.
    """
    if sys.stdout is sys.__stdout__ and sys.stdout is not None:
        raw, before = _Data(1, "w", closefd=False), sys.stdout
        sys.stdout = io.TextIOWrapper(raw, encoding=before.encoding, errors=before.errors, line_buffering=True)


def prepare_stderr() -> None:
    """Have what is written to sys.stderr go out at once, if it can, and raise nothing."""
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(_Talk(2, "w", closefd=False), sys.stderr)


def _text(raw: io.FileIO, before: io.TextIOBase | None) -> io.TextIOWrapper:
    # A terminal without UTF-8 is no reason to fail.
    encoding = None if before is None else before.encoding
    return io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace", write_through=True)

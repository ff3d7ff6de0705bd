"""The standard streams: a closed one counts as /dev/null, nothing stays in a buffer, and a worker's writes never block.

Python writes what a buffer holds once more when it exits. After an error that fails again: with a traceback and exit
code 120.
"""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TextIO

from rqtool.errors import RqtoolError
from rqtool.text import printable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

LAST_SECONDS = 1.0
"""How long the end of a run waits for a reader."""
Content = bytes | io.FileIO
"""Data to write: bytes, or a file from its current position to its end, which the writer closes."""
_PIECE, _MOST_PIECES = 65_536, 32
"""Bytes that are read or written at once, and how many such pieces before other work gets a turn."""
_PIPE_BUF = getattr(select, "PIPE_BUF", 512)
"""Bytes that a writable pipe takes without blocking (pipe(7))."""


class Output:
    """Writes to a stream without blocking, and keeps the data that the stream doesn't accept yet.

    It opens a pipe or terminal a second time, because setting O_NONBLOCK in place would affect every program that
    shares it. If that fails, it writes only pieces that the stream has room for.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting: deque[memoryview | io.FileIO] = deque()
        self._write: Callable[[memoryview], int] = partial(_write_if_writable, descriptor)
        with suppress(OSError):
            self._stop_blocking(os.fstat(descriptor).st_mode)

    def _stop_blocking(self, mode: int) -> None:
        if stat.S_ISSOCK(mode):
            import socket

            end = socket.socket(fileno=os.dup(self._descriptor))
            self._write = lambda piece: end.send(piece, socket.MSG_DONTWAIT)
            return
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
            self._descriptor = os.open(f"/proc/self/fd/{self._descriptor}", flags)
        self._write = partial(os.write, self._descriptor)

    @property
    def is_waiting(self) -> bool:
        """Whether something has not been written yet."""
        return bool(self._waiting)

    def fileno(self) -> int:
        """Return a descriptor that is writable when `flush` can make progress. A file is always writable, and epoll
        can't wait for it.
        """
        return self._descriptor

    def write(self, content: Content) -> None:
        """Write it now, or as soon as `flush` can. Raises OSError if nothing can be written there any more."""
        if content:
            self._waiting.append(memoryview(content) if isinstance(content, bytes) else content)
        self.flush()

    def flush(self) -> None:
        """Write what can be written now, but only a limited part of it. Raises OSError, and drops the waiting data, as
        `write` does.
        """
        try:
            for _ in range(_MOST_PIECES):
                if not self._waiting:
                    return
                first = self._waiting[0]
                if isinstance(first, io.FileIO):
                    if piece := first.read(_PIECE):
                        self._waiting.appendleft(memoryview(piece))
                    else:
                        self._waiting.popleft()
                        first.close()
                elif rest := first[self._write(first[:_PIECE]) :]:
                    self._waiting[0] = rest
                else:
                    self._waiting.popleft()
        except BlockingIOError:
            return
        except OSError:
            self._waiting.clear()
            raise


def _write_if_writable(descriptor: int, piece: memoryview) -> int:
    if not is_writable(descriptor):
        raise BlockingIOError
    return os.write(descriptor, piece[:_PIPE_BUF])


def is_writable(descriptor: int, seconds: float = 0.0) -> bool:
    """Wait at most so many seconds for room in a stream. True also if it is broken: the write then raises."""
    poll = select.poll()  # select() can't look at descriptors above 1023
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(max(seconds, 0.0) * 1000))


def reader_is_gone(descriptor: int) -> bool:
    """Whether the reader of a pipe, socket or terminal has closed it."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


class OutputError(OSError):
    """stdout can't be written; `str()` says why."""


def unwritable(why: object) -> RqtoolError:
    return RqtoolError(f"The output can't be written: {why}", "Send it elsewhere")


def explain(error: OSError) -> str:
    """Return in a few words why a stream can't be written."""
    return "its reader is gone" if error.errno == errno.EPIPE else (error.strerror or "").lower()


class Unbuffered(io.FileIO):
    """Writes all of its data at once. Raises OutputError, unless errors are to be ignored."""

    def __init__(self, descriptor: int, *, ignore_errors: bool = False) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._ignore_errors = ignore_errors

    def write(self, data: ReadableBuffer, /) -> int:
        rest = memoryview(data).cast("B")
        try:
            while rest:
                written: int | None = super().write(rest)
                if written is None:  # a program that shares the terminal or pipe has made it non-blocking
                    select.select([], [self], [])
                else:
                    rest = rest[written:]
        except OSError as error:
            if not self._ignore_errors:
                raise OutputError(explain(error)) from None
        return memoryview(data).nbytes


def take_standard_numbers() -> None:
    """Open /dev/null for each closed standard stream. Otherwise a file or socket of ours would get its number, and
    would be used as our input or output.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def prepare_streams() -> None:
    """Make sys.stdout and sys.stderr unbuffered, unless another program has replaced them. A write to stdout that fails
    raises OutputError; one to stderr is ignored: the work does not depend on its messages.
    """
    if sys.stdout is sys.__stdout__:
        sys.stdout = _unbuffered_text(Unbuffered(1), sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _unbuffered_text(Unbuffered(2, ignore_errors=True), sys.stderr)


def _unbuffered_text(raw: io.FileIO, before: TextIO | None) -> io.TextIOWrapper:
    # backslashreplace: a terminal without UTF-8 is no reason to fail.
    encoding = before.encoding if before else None
    return io.TextIOWrapper(raw, encoding, errors="backslashreplace", write_through=True)


def open_for_function(raw: Callable[[int], io.RawIOBase]) -> None:
    """Replace sys.stdout and sys.stderr, where they are Python's own or closed, by streams that write whole lines to
    `raw(1)` and `raw(2)`.

    Unbuffered (PYTHONUNBUFFERED), print() writes a line and its end apart, and output of other jobs comes between.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream, first = getattr(sys, name), getattr(sys, f"__{name}__")
        if stream is first or _is_closed(stream):
            setattr(sys, name, line_buffered(raw(number), first))


def _is_closed(stream: object) -> bool:
    """Whether a Python stream can't be used any more. A detached one says so by an error."""
    try:
        return bool(getattr(stream, "closed", False))
    except ValueError:
        return True


def line_buffered(raw: io.RawIOBase, before: TextIO | None) -> io.TextIOWrapper:
    """Return a stream that writes whole lines, with the encoding of the one before."""
    encoding, errors = (None, None) if before is None else (before.encoding, before.errors)
    return io.TextIOWrapper(raw, encoding=encoding, errors=errors, line_buffering=True)  # type: ignore[arg-type]


# Printing: data to stdout, messages to stderr.


def emit(line: str) -> None:
    """Print a line of data. Raises OutputError."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def put(text: str) -> None:
    """Print data without blocking the event loop, however slow the reader is. Raises OutputError.

    The thread is a daemon: neither cancelling this nor the end of the program waits for the reader.
    """
    import asyncio
    import threading
    from concurrent.futures import Future

    written: Future[None] = Future()
    written.set_running_or_notify_cancel()

    def write() -> None:
        try:
            sys.stdout.write(text)
            written.set_result(None)
        except OutputError as error:
            written.set_exception(error)

    threading.Thread(target=write, name="output", daemon=True).start()
    await asyncio.wrap_future(written)


def complain(text: str) -> None:
    """Print one line on stderr, with control characters escaped."""
    sys.stderr.write(f"rqtool: {printable(text)}\n")
    sys.stderr.flush()


def last_words(text: str) -> None:
    """Print one line on stderr at the end of a run, unless its reader would block us."""
    if is_writable(2, LAST_SECONDS):
        complain(text)


def talker(*, quiet: bool) -> Callable[[str], None]:
    return (lambda _: None) if quiet else complain


async def ask(question: str) -> bool:
    """Ask on the terminal; anything but yes means no. Heartbeats and signals keep working meanwhile."""
    import asyncio

    sys.stderr.write(printable(question))
    sys.stderr.flush()
    loop = asyncio.get_running_loop()
    reply: asyncio.Future[bytes] = loop.create_future()

    def readable() -> None:
        if not reply.done():
            reply.set_result(os.read(0, 1000))

    loop.add_reader(0, readable)
    try:
        return (await reply).strip().lower() in (b"y", b"yes")
    finally:
        loop.remove_reader(0)
        if not reply.done() or reply.cancelled():
            sys.stderr.write("\n")

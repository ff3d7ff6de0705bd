"""The input of `send`: a file or a pipe, split into tasks, and read in a thread so that it never holds up the loop."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from rqtool.errors import UsageError

CHUNK = 256 * 1024
LARGEST_TASK = 512 * 1024 * 1024
"""Bytes. No RabbitMQ takes a larger message, so a larger task probably lacks line ends."""
BATCHES_AHEAD = 2

Batch = list[bytes]


def open_input(name: str) -> int:
    """Return a file descriptor for `--from`: `-` is stdin. Raises UsageError for what can't be read."""
    if name == "-":
        if sys.stdin is None:
            raise UsageError("stdin is closed", "Give the tasks as arguments, or with --from FILE")
        return 0
    try:
        if Path(name).is_dir():
            raise UsageError(f"{name} is a folder", "Name a file, or - for stdin")
        return os.open(name, os.O_RDONLY)
    except OSError as error:
        raise UsageError(f"{name} can't be read: {error.strerror}", "Name a file, or - for stdin") from None


def chunks(descriptor: int) -> Iterator[bytes]:
    """Yield input as it arrives: the lines of an open pipe must not wait for a full buffer."""
    os.set_blocking(descriptor, True)  # another process that shares our stdin may have made it non-blocking
    while chunk := os.read(descriptor, CHUNK):
        yield chunk


def split(pieces: Iterable[bytes], *, null: bool = False) -> Iterator[Batch]:
    """Split pieces into tasks: at NUL, or at `\\n` and `\\r\\n`. Skips empty lines; the last task needs no end.

    Yields one batch per piece that completes at least one task. Raises UsageError above LARGEST_TASK.
    """
    separator = b"\0" if null else b"\n"
    parts: list[bytes] = []  # of the task that no separator has ended yet
    size = 0
    for piece in pieces:
        first, *rest = piece.split(separator)
        parts.append(first)
        size = _checked(size + len(first), "is --null missing?")
        if rest:
            lines = [b"".join(parts), *rest]
            parts = [lines.pop()]
            size = len(parts[0])
            if batch := _tasks(lines, null=null):
                yield batch
    if last := _tasks([b"".join(parts)], null=null):
        yield last


def whole(pieces: Iterable[bytes]) -> Iterator[Batch]:
    """Yield the whole input as one task, byte for byte. Raises UsageError above LARGEST_TASK."""
    parts: list[bytes] = []
    size = 0
    for piece in pieces:
        parts.append(piece)
        size = _checked(size + len(piece), "leave --whole out")
    yield [b"".join(parts)]


def _checked(size: int, advice: str) -> int:
    if size > LARGEST_TASK:
        raise UsageError(f"A task of more than {LARGEST_TASK:,} bytes", f"No broker takes it: {advice}")
    return size


def _tasks(lines: list[bytes], *, null: bool) -> Batch:
    if null:
        return [line for line in lines if line]
    return [task for line in lines if (task := line.removesuffix(b"\r"))]


class ReadAhead:
    """Runs an iterator of batches in a thread, at most BATCHES_AHEAD ahead, and hands its tasks to the event loop.

    `wake` is called on the loop whenever a batch or the end has arrived. A daemon thread: a read that never returns
    (an idle pipe) must not keep the process alive.
    """

    def __init__(self, batches: Iterable[Batch], wake: Callable[[], None]) -> None:
        self._source = batches
        self._wake = wake
        self._slots = threading.Semaphore(BATCHES_AHEAD)
        self._batches: deque[Batch] = deque()
        self._tasks: deque[bytes] = deque()
        self._read_all = False
        self.error: Exception | None = None

    def start(self) -> None:
        """Begin to read. Call it on the running loop."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, args=(loop,), name="input", daemon=True).start()

    @property
    def ended(self) -> bool:
        """Whether everything was read and taken."""
        return self._read_all and not self._batches and not self._tasks

    @property
    def complete(self) -> bool:
        """Whether everything was taken, and the end was no error."""
        return self.ended and self.error is None

    def take(self) -> bytes | None:
        """Return the next task; None if there is none yet, or no more."""
        while not self._tasks:
            if not self._batches:
                return None
            self._tasks.extend(self._batches.popleft())
            self._slots.release()
        return self._tasks.popleft()

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(RuntimeError):  # the loop is closed: the run is over
            error: Exception | None = None
            try:
                for batch in self._source:
                    self._slots.acquire()
                    loop.call_soon_threadsafe(self._arrived, batch)
            except Exception as problem:  # any error, or the sender would wait forever for an end
                error = problem
            loop.call_soon_threadsafe(self._end, error)

    def _arrived(self, batch: Batch) -> None:
        self._batches.append(batch)
        self._wake()

    def _end(self, error: Exception | None) -> None:
        self._read_all = True
        self.error = error
        self._wake()

"""Where tasks come from: a file or a pipe, split into batches, and read beside the connection, never in its way."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from rqtool.errors import UsageError

CHUNK = 256 * 1024
LARGEST_TASK = 512 * 1024 * 1024
"""Bytes. No RabbitMQ takes more in one message, so whoever sends more forgot the line ends."""
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
    """What is there, as soon as it is there: the lines of an open pipe must not wait for a full buffer."""
    os.set_blocking(descriptor, True)  # whoever shares our stdin may have left it otherwise
    while chunk := os.read(descriptor, CHUNK):
        yield chunk


def split(pieces: Iterable[bytes], *, null: bool = False) -> Iterator[Batch]:
    """Cut pieces into tasks: at NUL, or at `\\n` and `\\r\\n`. An empty line is no task; the last needs no end.

    Yields one batch per piece that completes at least one task. Raises UsageError above LARGEST_TASK.
    """
    separator = b"\0" if null else b"\n"
    begun: list[bytes] = []
    begun_size = 0
    for piece in pieces:
        first, *rest = piece.split(separator)
        begun.append(first)
        begun_size += len(first)
        if begun_size > LARGEST_TASK:
            raise UsageError(f"A task of more than {LARGEST_TASK:,} bytes", "No broker takes it: is --null missing?")
        if not rest:
            continue
        lines = [b"".join(begun), *rest]
        begun = [lines.pop()]
        begun_size = len(begun[0])
        batch = _tasks(lines, null=null)
        if batch:
            yield batch
    last = _tasks([b"".join(begun)], null=null)
    if last:
        yield last


def whole(pieces: Iterable[bytes]) -> Iterator[Batch]:
    """The whole input as one task, byte for byte. Raises UsageError above LARGEST_TASK."""
    parts: list[bytes] = []
    size = 0
    for piece in pieces:
        parts.append(piece)
        size += len(piece)
        if size > LARGEST_TASK:
            raise UsageError(f"A task of more than {LARGEST_TASK:,} bytes", "No broker takes it: leave --whole out")
    yield [b"".join(parts)]


def _tasks(lines: list[bytes], *, null: bool) -> Batch:
    if null:
        return [line for line in lines if line]
    return [task for line in lines if (task := line.removesuffix(b"\r"))]


class ReadAhead:
    """Runs an iterator of batches in a thread, at most BATCHES_AHEAD ahead, and hands tasks to the event loop.

    `wake` is called on the loop whenever there is something new. A daemon thread: a read that never returns (an idle
    pipe) must not keep the process alive.
    """

    def __init__(self, batches: Iterable[Batch], wake: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._wake = wake
        self._slots = threading.Semaphore(BATCHES_AHEAD)
        self._batches: deque[Batch] = deque()
        self._current: deque[bytes] = deque()
        self._read_all = False
        self.error: Exception | None = None
        threading.Thread(target=self._pump, args=(batches,), name="input", daemon=True).start()

    @property
    def ended(self) -> bool:
        """Whether everything was read and taken."""
        return self._read_all and not self._batches and not self._current

    def take(self) -> bytes | None:
        """The next task, or None if none is there yet, or any more."""
        while not self._current:
            if not self._batches:
                return None
            self._current = deque(self._batches.popleft())
            self._slots.release()
        return self._current.popleft()

    def _pump(self, batches: Iterable[Batch]) -> None:
        error: Exception | None = None
        try:
            for batch in batches:
                self._slots.acquire()
                self._tell(lambda batch=batch: self._batches.append(batch))  # type: ignore[misc]
        except Exception as problem:  # whatever it is: without an end the sender would wait for ever
            error = problem
        self._tell(lambda: self._end(error))

    def _end(self, error: Exception | None) -> None:
        self._read_all = True
        self.error = error

    def _tell(self, change: Callable[[], object]) -> None:
        def apply() -> None:
            change()
            self._wake()

        try:
            self._loop.call_soon_threadsafe(apply)
        except RuntimeError:
            return  # the loop is closed: nobody reads any more

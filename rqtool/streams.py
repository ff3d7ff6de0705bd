"""The standard streams as rqtool uses them: closed ones are /dev/null, and nothing stays in a buffer.

What a buffer still holds after an error is written once more when Python exits, and fails once more: with a traceback
and the exit code 120.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import TYPE_CHECKING

from rqtool.errors import RqtoolError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


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

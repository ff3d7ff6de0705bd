"""Printing: data to stdout, messages to stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress

from rqtool.output import OutputError, is_writable
from rqtool.text import printable

LAST_SECONDS = 1.0


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

    loop = asyncio.get_running_loop()
    written: asyncio.Future[OutputError | None] = loop.create_future()

    def end(error: OutputError | None) -> None:
        if not written.done():
            written.set_result(error)

    def write() -> None:
        problem = None
        try:
            sys.stdout.write(text)
        except OutputError as error:
            problem = error
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(end, problem)

    threading.Thread(target=write, name="output", daemon=True).start()
    if (problem := await written) is not None:
        raise problem


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


def ask(question: str) -> bool:
    """Ask on the terminal; anything but yes is no."""
    sys.stderr.write(printable(question))
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")

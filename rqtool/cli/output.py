"""stdout is data, stderr is talk."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress

from rqtool.errors import RqtoolError
from rqtool.text import printable


def emit(line: str) -> None:
    """Print a line of data at once: whoever reads it may be waiting for it. Raises OutputError."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def put(text: str) -> None:
    """Print a piece of data. Nothing else stops while its reader takes its time, and who is cancelled waits no more.

    Raises BrokenPipeError where the reader has left, RqtoolError where the output can't be written.
    """
    import asyncio
    import threading

    if sys.stdout is None:
        return
    loop = asyncio.get_running_loop()
    written: asyncio.Future[OSError | None] = loop.create_future()
    # Not by sys.stdout: its lock would hold up the end of the program while the reader does not read.
    output, rest = sys.stdout.fileno(), memoryview(text.encode(sys.stdout.encoding, "backslashreplace"))

    def end(error: OSError | None) -> None:
        if not written.done():
            written.set_result(error)

    def write(rest: memoryview) -> None:
        error = None
        try:
            while rest:
                rest = rest[os.write(output, rest) :]
        except OSError as failed:
            error = failed
        with suppress(RuntimeError):  # nobody waits any more
            loop.call_soon_threadsafe(end, error)

    threading.Thread(target=write, args=(rest,), name="output", daemon=True).start()
    error = await written
    if isinstance(error, BrokenPipeError):
        raise error
    if error is not None:
        raise RqtoolError(f"The output can't be written: {error.strerror}", "Make room, or write it elsewhere")


def complain(text: str) -> None:
    """Print one line for people, whatever the text holds."""
    sys.stderr.write(f"rqtool: {printable(text)}\n")
    sys.stderr.flush()


def talker(*, quiet: bool) -> Callable[[str], None]:
    return (lambda _: None) if quiet else complain


def ask(question: str) -> bool:
    """Ask on the terminal; anything but yes is no."""
    sys.stderr.write(printable(question))
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")

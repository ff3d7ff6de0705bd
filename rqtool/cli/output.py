"""stdout is data, stderr is talk."""

from __future__ import annotations

import sys
from collections.abc import Callable

from rqtool.errors import RqtoolError
from rqtool.streams import OutputError
from rqtool.text import printable


def emit(line: str) -> None:
    """Print a line of data at once: whoever reads it may be waiting for it. Raises OutputError."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def unwritable(error: OutputError) -> RqtoolError:
    return RqtoolError(f"The output can't be written: {error}", "Send it elsewhere")


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

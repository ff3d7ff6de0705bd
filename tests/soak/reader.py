"""Reads what a worker prints into a file. It can be stalled, and the worker's pipe is then soon full."""

from __future__ import annotations

import fcntl
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PIPE_BYTES = 4096
"""The smallest pipe that Linux makes: less than a hundred tasks fit into it."""


class Reader:
    """A process that ends when nobody is left who could write into `pipe`."""

    def __init__(self, file: Path) -> None:
        with file.open("ab") as out:
            self._process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=out)
        assert self._process.stdin is not None
        self.pipe = self._process.stdin
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            fcntl.fcntl(self.pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    @property
    def is_there(self) -> bool:
        return self._process.poll() is None

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """Nothing is read meanwhile."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        if self.is_there:
            self._process.kill()
            self._process.wait()

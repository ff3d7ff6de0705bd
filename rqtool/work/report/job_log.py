"""The job log of `--joblog`: a line for each finished attempt, in GNU parallel's format."""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
import time
from contextlib import suppress
from pathlib import Path

from rqtool.errors import RqtoolError, UsageError
from rqtool.run.encoding import Spec
from rqtool.run.outcome import CannotRun, Done, Outcome, OutputGone, Postponed, Rejected, is_timeout
from rqtool.run.placeholders import Template
from rqtool.work.job import Job

HEADER = b"Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"
_HERE = ":"
"""What GNU parallel calls this machine."""
_CODES = {Done: 0, CannotRun: 127, Rejected: os.EX_DATAERR, Postponed: os.EX_TEMPFAIL}
_MOST = 1000
"""Bytes of a task after the name of a function."""


class JobLog:
    """Appends to a file that other workers of this machine may share."""

    def __init__(self, path: Path, spec: Spec) -> None:
        """Open it, and write the header if it is empty. Raises UsageError."""
        self._path = path
        self._spec = spec
        self._template = Template(spec.what, spec.placeholder) if spec.kind == "command" else None
        try:
            # O_NONBLOCK: a pipe that nobody reads must not hold us up.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY
            self._file = os.open(path, flags, 0o666)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                if not os.fstat(self._file).st_size:
                    self._write(HEADER)
                elif _is_torn(path):
                    self._write(b"\n")
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise UsageError(
                f"--joblog {path}: it can't be opened: {why}", "Name a file that can be written"
            ) from error

    def add(self, job: Job, outcome: Outcome, seconds: float) -> None:
        """Add the line of an attempt that has ended after so many seconds. Raises RqtoolError."""
        now = time.monotonic()
        body = job.task.body
        code, number = exit_status(outcome)
        columns = (
            str(job.number),
            _HERE,
            f"{time.time() - (now - (job.started or now)):.3f}",
            f"{seconds:10.3f}",
            *map(str, (len(body), job.written, code, number)),
        )
        # A line end would make two lines of one: GNU parallel, too, writes a NUL for it.
        line = "\t".join(columns).encode() + b"\t" + self._command(body).replace(b"\n", b"\0") + b"\n"
        try:
            self._write(line)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise RqtoolError(
                f"The job log {self._path} can't be written: {why}", "Make room, then start the worker again"
            ) from error

    def _command(self, body: bytes) -> bytes:
        """Return the command line, or the function with its task, as a shell would read it."""
        if self._template is not None:
            words = self._template.fill(body)
        else:
            words = [os.fsencode(self._spec.what[0]), body if len(body) <= _MOST else body[:_MOST] + b"..."]
        return os.fsencode(shlex.join(map(os.fsdecode, words)))

    def _write(self, line: bytes) -> None:
        """Write it in one piece, or other workers' lines could come between."""
        if os.write(self._file, line) < len(line):
            raise OSError("no space left on device")


def _is_torn(path: Path) -> bool:
    """Whether the last line has no end, because a full disk cut it."""
    with suppress(PermissionError), path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"
    return False


def exit_status(outcome: Outcome) -> tuple[int, int]:
    """Return exit code and signal, as GNU parallel has them: a signal goes with 0, or with -1 after a timeout. A
    function has the exit code that a command with the same verdict has.
    """
    code: int | None = getattr(outcome, "exit_code", None)
    if is_timeout(outcome):
        return -1, -code if code is not None and code < 0 else signal.SIGTERM
    if isinstance(outcome, OutputGone):
        return 0, signal.SIGPIPE
    if code is None:
        code = next((code for kind, code in _CODES.items() if isinstance(outcome, kind)), 1)
    return (code, 0) if code >= 0 else (0, -code)

"""Runs a command for each task, without a shell, each in a process group of its own."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import threading
from collections.abc import Sequence

from rqtool.durations import format_duration
from rqtool.errors import UsageError
from rqtool.handlers.processes import Group, notice_ends, signal_name
from rqtool.handlers.spawning import file_with, keep_descriptors, spawn
from rqtool.outcomes import CannotRun, Done, Failed, Outcome, Postponed, Rejected
from rqtool.task import Task

_METADATA = b"RQTOOL_TASK_"
"""What the names of a task's metadata begin with. No option's environment twin does: a command that runs rqtool itself
must not inherit options that its own line doesn't give."""
CANNOT_RUN = (126, 127)
"""What a shell answers for a command that is not executable, or not there."""
_NOT_RUNNABLE = (errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR, errno.EPERM)


class Command:
    """Runs a command per task, for at most `timeout` seconds.

    The body is on stdin, as a file: a command that never reads it blocks nobody, whatever its size. An argument `{}` is
    replaced by the body. What the command writes to stderr is passed on to our own.
    """

    def __init__(self, command: Sequence[str], *, stdout: int | None = None, timeout: float | None = None) -> None:
        self._command = command
        self.runs = os.path.basename(command[0])
        self._stdout = stdout
        self._timeout = timeout
        self._lock = threading.Lock()
        self._running: set[Group] = set()
        self._killed = False
        # A worker that is itself a command has metadata of its own task, which say nothing of ours.
        self._environment = {n: value for n, value in os.environb.items() if not n.startswith(_METADATA)}
        notice_ends()
        keep_descriptors()

    def open(self) -> None:
        if shutil.which(self._command[0]) is None:
            raise UsageError(
                f"The command can't be run: {self._command[0]} is not there or not executable", "Correct it"
            )

    def run(self, task: Task) -> Outcome:
        started = self.start(task)
        return self.finish(started) if isinstance(started, Group) else started

    def start(self, task: Task) -> Group | Outcome:
        """Start the command; what is returned must be given to `finish`. An outcome: it could not be started."""
        arguments = [task.body if argument == "{}" else os.fsencode(argument) for argument in self._command]
        try:
            stdin = file_with(task.body)
            try:
                group = self._start(arguments, stdin, self._environment | _metadata(task))
            finally:
                os.close(stdin)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in _NOT_RUNNABLE and error.filename is not None:
                return CannotRun(f"The command can't be run: {self._command[0]}: {(error.strerror or '').lower()}")
            # Too long an argument list, a NUL in the body, a full disk: this attempt's trouble.
            return Failed(str(error))
        return Failed("killed") if group is None else group

    def finish(self, group: Group) -> Outcome:
        """Wait for the end of what was started."""
        try:
            group.watch()
            code = group.wait()
        except RuntimeError as error:
            return Failed(str(error))
        finally:
            with self._lock:
                self._running.discard(group)
        detail = group.last_lines()
        if self._timeout is not None and group.timed_out:
            return Failed(f"timed out after {format_duration(self._timeout)}", detail, code)
        return _outcome(self._command[0], code, detail)

    def kill(self) -> None:
        with self._lock:
            self._killed = True
            for group in self._running:
                group.signal(signal.SIGKILL)

    def _start(self, arguments: list[bytes], stdin: int, environment: dict[bytes, bytes]) -> Group | None:
        with self._lock:
            if self._killed:
                return None
            pid, stderr = spawn(arguments, environment, stdin=stdin, stdout=self._stdout)
            group = Group(pid, stderr, self._timeout)
            self._running.add(group)
            return group


def _outcome(command: str, code: int, detail: str) -> Outcome:
    why = f"exit code {code}" if code >= 0 else f"killed by {signal_name(-code)}"
    if code == 0:
        return Done()
    if code == os.EX_TEMPFAIL:
        return Postponed(why, detail=detail, exit_code=code)
    if code == os.EX_DATAERR:
        return Rejected(why, detail, code)
    if code in CANNOT_RUN:
        return CannotRun(
            f"The command can't be run: {command}: {why} (not {'executable' if code == CANNOT_RUN[0] else 'found'})"
        )
    return Failed(why, detail, code)


def _metadata(task: Task) -> dict[bytes, bytes]:
    own = {
        b"QUEUE": task.queue,
        b"ID": task.message_id,
        b"ATTEMPT": str(task.attempt),
        b"REDELIVERED": "1" if task.redelivered else "0",
    }
    for name, value in task.headers.items():
        variable = "".join(c if c.isascii() and c.isalnum() else "_" for c in name.upper())
        own[b"HEADER_" + variable.encode()] = value
    # An environment can hold no NUL; an id or header from elsewhere can.
    return {_METADATA + name: os.fsencode(value.replace("\0", "")) for name, value in own.items()}

"""What is done with a task: counting dots, or running a command. Handlers run in threads and never touch AMQP."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

CANNOT_RUN = (126, 127)
"""What a shell answers for a command that is not executable, or not there."""
_NOT_RUNNABLE = (errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR, errno.EPERM)


@dataclass(frozen=True, slots=True)
class Task:
    """One delivery as a handler sees it. `attempt` counts from 1."""

    body: bytes
    queue: str
    message_id: str
    attempt: int
    redelivered: bool
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Done:
    """The work is done: ack."""


@dataclass(frozen=True, slots=True)
class Failed:
    """This attempt failed, another may succeed."""

    why: str


@dataclass(frozen=True, slots=True)
class CannotRun:
    """The worker itself is set up wrongly: no task of the queue would fare better."""

    why: str


Outcome = Done | Failed | CannotRun


class Handler(Protocol):
    """`run` is called in several threads at once; `kill` from another one ends all of them soon."""

    def run(self, task: Task) -> Outcome: ...

    def kill(self) -> None: ...


class Dots:
    """The tutorial's worker: a second of work for each dot in the body."""

    def __init__(self) -> None:
        self._killed = threading.Event()

    def run(self, task: Task) -> Outcome:
        return Failed("killed") if self._killed.wait(task.body.count(b".")) else Done()

    def kill(self) -> None:
        self._killed.set()


class Command:
    """Runs a command per task, without a shell, each in a process group of its own.

    The body is on stdin, as a file: a command that never reads it blocks nobody, whatever its size. An argument `{}` is
    replaced by the body.
    """

    def __init__(self, command: Sequence[str], *, stdout: int | None = None) -> None:
        self._command = command
        self._stdout = stdout
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._killed = False

    def run(self, task: Task) -> Outcome:
        arguments = [task.body if argument == "{}" else os.fsencode(argument) for argument in self._command]
        try:
            with tempfile.TemporaryFile() as stdin:
                stdin.write(task.body)
                stdin.seek(0)
                process = self._start(arguments, stdin.fileno(), _environment(task))
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in _NOT_RUNNABLE and error.filename is not None:
                return CannotRun(f"{self._command[0]}: {(error.strerror or '').lower()}")
            # Too long an argument list, a NUL in the body, a full disk: this attempt's trouble.
            return Failed(str(error))
        if process is None:
            return Failed("killed")
        code = process.wait()
        with self._lock:
            self._running.discard(process)
        return _outcome(self._command[0], code)

    def kill(self) -> None:
        with self._lock:
            self._killed = True
            for process in self._running:
                with suppress(ProcessLookupError):  # it ended, and nobody has taken it off the list yet
                    os.killpg(process.pid, signal.SIGKILL)

    def _start(
        self, arguments: list[bytes], stdin: int, environment: dict[bytes, bytes]
    ) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self._killed:
                return None
            process = subprocess.Popen(arguments, stdin=stdin, stdout=self._stdout, env=environment, process_group=0)
            self._running.add(process)
            return process


def _outcome(command: str, code: int) -> Outcome:
    if code == 0:
        return Done()
    if code in CANNOT_RUN:
        return CannotRun(f"{command}: exit code {code} (not {'executable' if code == CANNOT_RUN[0] else 'found'})")
    if code < 0:
        return Failed(f"killed by {_signal_name(-code)}")
    return Failed(f"exit code {code}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # the real-time signals have no names


def _environment(task: Task) -> dict[bytes, bytes]:
    own = {
        "RQTOOL_QUEUE": task.queue,
        "RQTOOL_MESSAGE_ID": task.message_id,
        "RQTOOL_ATTEMPT": str(task.attempt),
        "RQTOOL_REDELIVERED": str(int(task.redelivered)),
    }
    for name, value in task.headers.items():
        variable = "".join(c if c.isascii() and c.isalnum() else "_" for c in name.upper())
        own[f"RQTOOL_HEADER_{variable}"] = value
    # An environment can hold no NUL; an id or header from elsewhere can.
    return dict(os.environb) | {os.fsencode(k): os.fsencode(v.replace("\0", "")) for k, v in own.items()}

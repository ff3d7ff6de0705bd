"""How a run of a task ended, and what a command's exit code means for its task. Pure.

`why` is one line for people; `detail` the last lines of the task's stderr, or of a traceback; `exit_code` is the
command's, None if there is none.
"""

from __future__ import annotations

import errno
import os
import signal
from dataclasses import dataclass
from typing import TypeGuard

from rqtool.durations import format_duration

CANNOT_RUN = {126: "executable", 127: "found"}
"""What a shell answers for a command that is not executable, or not there."""
_TIMED_OUT = "timed out after "
_PASSES = (
    *(errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT),
    errno.ETXTBSY,  # somebody is writing the program: a deployment
)


@dataclass(frozen=True, slots=True)
class Done:
    """The work is done."""

    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """This attempt failed, another may succeed."""

    why: str
    detail: str = ""
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Postponed:
    """The task asks to be tried again, after `delay` seconds if it gives any."""

    why: str
    delay: float | None = None
    detail: str = ""
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """The task says that no attempt can succeed."""

    why: str
    detail: str = ""
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class CannotRun:
    """The worker itself is set up wrongly: no task of the queue would fare better."""

    why: str
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class OutputGone:
    """The task's output can't be written: no verdict on the task, and the end of the worker."""

    why: str


@dataclass(frozen=True, slots=True)
class Shortage:
    """No process, descriptor, memory or disk was left for the task: no verdict on it, since it has not begun, or its
    output could not be kept.
    """

    why: str


Outcome = Done | Failed | Postponed | Rejected | CannotRun | OutputGone | Shortage


def why(outcome: Outcome) -> str:
    """The reason for the outcome, in one line; empty if the task is done."""
    return "" if isinstance(outcome, Done) else outcome.why


def timed_out(seconds: float, detail: str = "", exit_code: int | None = None) -> Failed:
    """Return the outcome of an attempt whose time was up."""
    return Failed(f"{_TIMED_OUT}{format_duration(seconds)}", detail, exit_code)


def is_timeout(outcome: Outcome) -> bool:
    return isinstance(outcome, Failed) and outcome.why.startswith(_TIMED_OUT)


def is_stopped(outcome: Outcome) -> bool:
    """Whether a signal that asks programs to end has ended it, also where a shell reports that."""
    code: int | None = getattr(outcome, "exit_code", None)
    ends = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    return code is not None and (-code if code < 0 else code - 128) in ends and not is_timeout(outcome)


def judge_exit(program: str, code: int, detail: str) -> Outcome:
    """Judge an exit code, negative for a signal (https://man.openbsd.org/sysexits); `detail`: the end of stderr."""
    if code == 0:
        return Done()  # the worker knows the exit code
    why = f"exit code {code}" if code > 0 else f"killed by {signal_name(-code)}"
    if code == os.EX_TEMPFAIL:
        return Postponed(why, detail=detail, exit_code=code)
    if code == os.EX_DATAERR:
        return Rejected(why, detail, code)
    if code in CANNOT_RUN:
        return CannotRun(f"The command can't be run: {program!r}: {why} (not {CANNOT_RUN[code]})", code)
    return Failed(why, detail, code)


def is_shortage(error: object) -> TypeGuard[OSError | MemoryError]:
    """Whether an error is about what the system has run out of for now."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _PASSES)


def shortage(error: OSError | MemoryError) -> Shortage:
    """Name the resource that a task needs to begin and that the system has run out of."""
    return Shortage((getattr(error, "strerror", None) or "out of memory").lower())


def signal_name(number: int) -> str:
    """Return `SIGKILL`, or `signal 40`: the real-time signals have no names."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

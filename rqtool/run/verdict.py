"""What the end of a command says about its task, or that it could not be started. Pure."""

from __future__ import annotations

import errno
import os

from rqtool.run.outcome import CannotRun, Done, Failed, Outcome, Postponed, Rejected, Shortage
from rqtool.run.signals import signal_name

CANNOT_RUN = {126: "executable", 127: "found"}
"""What a shell answers for a command that is not executable, or not there."""
_NOT_RUNNABLE = (errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR, errno.EPERM)
_NOTHING_LEFT = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT)


def ended(program: str, code: int, detail: str) -> Outcome:
    """Judge an exit code, negative for a signal (https://man.openbsd.org/sysexits); `detail`: the end of stderr."""
    why = f"exit code {code}" if code >= 0 else f"killed by {signal_name(-code)}"
    if code == 0:
        return Done()  # which needs no words; the worker knows the exit code
    if code == os.EX_TEMPFAIL:
        return Postponed(why, detail=detail, exit_code=code)
    if code == os.EX_DATAERR:
        return Rejected(why, detail, code)
    if code in CANNOT_RUN:
        return CannotRun(f"The command can't be run: {program}: {why} (not {CANNOT_RUN[code]})")
    return Failed(why, detail, code)


def not_started(program: str, error: OSError | ValueError | MemoryError) -> Outcome:
    """Judge why a command could not be started."""
    why = str(error)
    if isinstance(error, MemoryError):
        return shortage(error)
    if isinstance(error, OSError):
        why = (error.strerror or why).lower()
        if error.errno in _NOT_RUNNABLE and error.filename is not None:
            return CannotRun(f"The command can't be run: {program}: {why}")
        if error.errno in _NOTHING_LEFT:
            return shortage(error)
    return Failed(why)  # too long an argument list, a NUL in the body: this attempt's trouble


def shortage(error: OSError | MemoryError) -> Shortage:
    """Say what is not there that a task needs to begin."""
    return Shortage((getattr(error, "strerror", None) or "out of memory").lower())

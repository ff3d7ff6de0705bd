"""The tree of errors, each with its exit code. Pure.

RqtoolError                  1   some of the work failed
├── UsageError               2   the command line, or a file that it names, is wrong
├── Unreachable             69   broker or management API out of reach
│   └── NothingListens      69   there is no program at that port
├── AccessRefused           77   the broker denies access
├── UnsafeQueue             78   the queue exists with settings that break the promise
└── Stopped           130, 143   a second Ctrl-C, a second SIGTERM

The codes between 64 and 78 are those of sysexits.h (EX_UNAVAILABLE, EX_NOPERM, EX_CONFIG).
"""

from __future__ import annotations


class RqtoolError(Exception):
    """An error that a user can act on. `str()` gives `WHAT. WHAT TO DO.`; `exit_code` is that of the process."""

    exit_code = 1
    unknown_queue = ""
    """The name of the queue that does not exist, if that is the error: the command line suggests a similar one."""

    def __init__(self, what: str, what_to_do: str = "") -> None:
        super().__init__(what, what_to_do)
        self.what = what
        self.what_to_do = what_to_do

    def __str__(self) -> str:
        return " ".join(
            part if part.endswith("?") else f"{part.rstrip('.')}." for part in (self.what, self.what_to_do) if part
        )


def no_queue(name: str) -> RqtoolError:
    """The error for the name of a queue that does not exist."""
    error = RqtoolError(f"There is no queue {name!r}", "See the names with: rqtool queues")
    error.unknown_queue = name
    return error


class UsageError(RqtoolError):
    """The command line, or a file that it names, can't be used."""

    exit_code = 2


class Unreachable(RqtoolError):
    """No answer from the broker or from its management API."""

    exit_code = 69


class NothingListens(Unreachable):
    """The connection was refused: no program listens on the port of the broker or of its management API."""


class AccessRefused(RqtoolError):
    """A wrong name or password, a vhost that the user may not enter, or a missing permission."""

    exit_code = 77


class UnsafeQueue(RqtoolError):
    """The queue exists with settings that would lose tasks, or differ from those asked for."""

    exit_code = 78


class Stopped(RqtoolError):
    """A second signal: running tasks were killed, and the broker delivers them again."""

    def __init__(self, signal_number: int, what: str) -> None:
        super().__init__(what)
        self.exit_code = 128 + signal_number

"""How one run of a task ended, as its handler saw it. Pure.

`why` is one line for people; `detail` the last lines of what the task wrote to stderr, or of a traceback; `exit_code` a
command's own, None where there is none.
"""

from __future__ import annotations

from dataclasses import dataclass


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
    """The task asks to be tried again, after `delay` seconds where it says so."""

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


@dataclass(frozen=True, slots=True)
class OutputGone:
    """What the task wrote to our output can't be written: no verdict on the task, and the end of the worker."""

    why: str


@dataclass(frozen=True, slots=True)
class Shortage:
    """No process, descriptor, memory or room was left for it here: no verdict on the task, which has not begun."""

    why: str


Outcome = Done | Failed | Postponed | Rejected | CannotRun | OutputGone | Shortage


def why(outcome: Outcome) -> str:
    """The reason in one line, empty for what is done."""
    return "" if isinstance(outcome, Done) else outcome.why

"""Turns an exception of the user's code into a verdict on its task, and a traceback without rqtool's own frames."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress

import rqtool
from rqtool.durations import LONGEST_DELAY, format_duration
from rqtool.output import OutputError
from rqtool.run.outcome import Failed, Outcome, OutputGone, Postponed, Rejected
from rqtool.run.task import Reject, Retry

_OURS = os.path.dirname(rqtool.__file__) + os.sep
_STANDARD_LIBRARY = os.path.dirname(os.__file__) + os.sep
_LONGEST_LINE = 500
_DETAIL_LINES = 10
_DETAIL_CHARACTERS = 2000


def judge_exception(error: BaseException) -> Outcome:
    """Say what the exception means. The user's own classes may fail here in any way."""
    try:
        return _judge(error)
    except Exception:
        return Failed(type(error).__qualname__)


def _judge(error: BaseException) -> Outcome:
    if isinstance(error, Reject):
        return Rejected(_reason(error) or "rejected by the function")
    if isinstance(error, OutputError):  # the worker's stdout is no fault of the task's
        return OutputGone(str(error))
    report = Report(error)
    line = report.line()
    if isinstance(error, Retry):
        delay: object = error.delay
        if delay is None or (isinstance(delay, int | float) and 0 <= delay <= LONGEST_DELAY):
            why = _reason(error) or "Retry, without a reason"
            return Postponed(why, delay=None if delay is None else float(delay))
        line = f"Retry({delay!r}): no delay between 0 and {format_duration(LONGEST_DELAY)}{report.place()}"
    full = report.full()
    # A cancelled task mostly ran out of time, and the outcome says so.
    if type(error).__name__ != "CancelledError":
        with suppress(Exception):
            print(full, end="", file=sys.stderr, flush=True)  # noqa: T201 - for the function's developer
    return Failed(line, detail="\n".join(full.splitlines()[-_DETAIL_LINES:])[-_DETAIL_CHARACTERS:])


def _reason(error: Reject | Retry) -> str:
    return "" if error.reason is None else _one_line(str(error.reason))


class Report:
    """Describes an exception. Its own str() may fail, like any of the user's code."""

    def __init__(self, error: BaseException) -> None:
        self._name = type(error).__qualname__
        self._traceback = traceback.TracebackException.from_exception(error)
        left = [self._traceback]
        while left:
            one = left.pop()
            one.stack[:] = [frame for frame in one.stack if not frame.filename.startswith(_OURS)]
            left += [other for other in (one.__cause__, one.__context__, *(one.exceptions or ())) if other]

    def line(self) -> str:
        """`ValueError: bad (tasks.py:12)`."""
        text = _one_line(str(self._traceback))
        return f"{self._name}: {text}{self.place()}" if text else f"{self._name}{self.place()}"

    def place(self) -> str:
        """Return ` (tasks.py:12)`: the innermost line that the user wrote, rather than one of a library it calls."""
        installed = [frame for frame in self._traceback.stack if "-packages" in frame.filename]
        written = [
            frame
            for frame in self._traceback.stack
            if frame not in installed and not frame.filename.startswith((_STANDARD_LIBRARY, "<frozen "))
        ]
        frames = written or installed
        return f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""

    def full(self) -> str:
        return "".join(self._traceback.format())


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST_LINE]

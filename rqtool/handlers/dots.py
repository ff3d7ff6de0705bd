"""The tutorial's pretended work."""

from __future__ import annotations

import threading

from rqtool.outcomes import Done, Failed, Outcome
from rqtool.task import Task


class Dots:
    """The tutorial's worker: a second of work for each dot in the body."""

    def __init__(self) -> None:
        self._killed = threading.Event()
        self.runs = "dots"

    def open(self) -> None:
        """There is nothing to get ready."""

    def run(self, task: Task) -> Outcome:
        return Failed("killed") if self._killed.wait(task.body.count(b".")) else Done()

    def kill(self) -> None:
        self._killed.set()

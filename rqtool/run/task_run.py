"""One run of a task, as the worker hears of it."""

from __future__ import annotations

from typing import Protocol

from rqtool.run.outcome import Outcome
from rqtool.run.task import Task


class Run(Protocol):
    """Hears `begun` and then `ended`; or `returned`. Called on the event loop."""

    task: Task

    def begun(self) -> None:
        """The work begins."""

    def ended(self, outcome: Outcome) -> None: ...

    def returned(self) -> None:
        """It has not begun, and won't: it can be handed over again."""

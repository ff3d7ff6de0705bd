"""What does the work of tasks, behind one type. Handlers never touch AMQP; all of this is called on the event loop."""

from __future__ import annotations

from typing import Protocol

from rqtool.outcomes import Outcome
from rqtool.task import Task


class Run(Protocol):
    """One run of a task, as whoever wants it is told of it: `ended`, after `begun` unless it could not begin; or
    `returned`.
    """

    task: Task

    def begun(self) -> None:
        """The work begins."""

    def ended(self, outcome: Outcome) -> None: ...

    def returned(self) -> None:
        """It has not begun, and won't: it can be handed over again."""


class Handler(Protocol):
    """`open` before the first task and `close` after the last one; `kill` ends all that runs soon, and whatever would
    begin.
    """

    runs: str
    """What others may know of it, who look at the broker's lists; never the arguments, which can be secret."""

    @property
    def capacity(self) -> int:
        """How many tasks it wants in its hands now: those it works on, and short ones ahead."""

    async def open(self) -> None:
        """Get ready. Raises UsageError where no task could be run; nothing was taken from the queue yet."""

    def begin(self, run: Run) -> None:
        """Take a task over. It begins at once where fewer tasks are in its hands than it has jobs."""

    def withdraw(self) -> None:
        """Return what has not begun."""

    def kill(self) -> None: ...

    async def close(self) -> None: ...

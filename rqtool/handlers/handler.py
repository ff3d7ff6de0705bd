"""What does the work of a task, behind one type. Handlers run in threads and never touch AMQP."""

from __future__ import annotations

from typing import Protocol

from rqtool.outcomes import Outcome
from rqtool.task import Task


class Handler(Protocol):
    """`open` before the first task and `close` after the last one; `run` is called in several threads at once; `kill`,
    called from another one, ends all of them soon, and whatever would begin.
    """

    runs: str
    """What others may know of it, who look at the broker's lists; never the arguments, which can be secret."""

    def open(self) -> None:
        """Get ready. Raises UsageError where no task could be run; nothing was taken from the queue yet."""

    def run(self, task: Task) -> Outcome: ...

    def kill(self) -> None: ...

    def close(self) -> None: ...

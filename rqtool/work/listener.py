"""Who is told of what a worker does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from rqtool.run.outcome import Done, Outcome
from rqtool.run.task import Task


class Listener(Protocol):
    """Is told of each task and of the connection; called on the event loop, in order. Times in seconds.

    `redelivered`: somebody had it before; `in_hand`: we have it, or its result, and it is not begun anew.
    `shortage`: no task can be begun here for now.
    """

    def received(self, task: Task) -> None: ...

    def redelivered(self, task: Callable[[], Task], *, in_hand: bool) -> None: ...

    def done(self, task: Task, outcome: Done, seconds: float) -> None: ...

    def failed(self, task: Task, outcome: Outcome, seconds: float) -> None: ...

    def retry(self, task: Task, outcome: Outcome, seconds: float, delay: str) -> None: ...

    def dead(self, task: Task, outcome: Outcome, seconds: float, queue: str) -> None: ...

    def shortage(self, why: str) -> None: ...

    def connection_lost(self, reason: str) -> None: ...

    def connection_back(self, url: str) -> None: ...

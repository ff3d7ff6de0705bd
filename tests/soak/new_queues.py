"""Load: queues whose first send comes in the middle of the chaos, each at its moment or when a fault wants one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from tests.soak.scenario import NewQueue

FIRST_SECONDS = 15.0
"""How long a fault waits for the first tasks of a new queue to be confirmed."""


class NewQueues:
    """`send` begins a queue, says when its first tasks are confirmed, and returns when all are; `start` runs something
    in a thread.
    """

    def __init__(
        self,
        queues: list[NewQueue],
        send: Callable[[NewQueue, Callable[[], None]], None],
        start: Callable[[Callable[[], None]], None],
    ) -> None:
        self._left = deque(sorted(queues, key=lambda new: new.at))
        self._send = send
        self._start = start

    def run(self, seconds: Callable[[], float], over: threading.Event) -> None:
        """Begin each at its moment, until `over`; `seconds` tells how late it is."""
        while self._left and not over.wait(0.1):
            try:
                is_due = self._left[0].at <= seconds()
            except IndexError:  # a fault began the last one
                return
            if is_due:
                self.begin()

    def begin(self) -> bool:
        """Begin the next one now; returns as soon as its first tasks are confirmed: whether that was at once."""
        try:
            new = self._left.popleft()
        except IndexError:
            return False
        is_begun = threading.Event()
        self._start(lambda: self._send(new, is_begun.set))
        return is_begun.wait(FIRST_SECONDS)

"""Load: queues whose first send comes in the middle of the chaos, each at its moment or when a fault wants one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from tests.soak.scenario import NewQueue


class NewQueues:
    """`send` begins a queue and returns when all of its tasks are confirmed; `start` runs something in a thread."""

    def __init__(
        self,
        queues: list[NewQueue],
        send: Callable[[NewQueue], None],
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

    def begin(self) -> NewQueue | None:
        """Begin the next one now; None if none is left."""
        try:
            new = self._left.popleft()
        except IndexError:
            return None
        self._start(lambda: self._send(new))
        return new

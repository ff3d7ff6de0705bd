"""Load: queues whose first send comes in the middle of the chaos, each at its moment or when a fault wants one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from tests.soak.scenario import NewQueue

FIRST_SECONDS = 15.0
"""How long a fault waits for the first tasks of a new queue to be confirmed."""


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

    def begin(self) -> bool:
        """Begin the next one now; returns whether all of its tasks were confirmed at once."""
        try:
            new = self._left.popleft()
        except IndexError:
            return False
        sent = threading.Event()

        def send() -> None:
            self._send(new)
            sent.set()

        self._start(send)
        return sent.wait(FIRST_SECONDS)

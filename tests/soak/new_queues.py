"""Load: queues whose first send comes in the middle of the chaos, each at its moment or when a fault wants one."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from tests.soak.scenario import NewQueue

FIRST_SECONDS = 15.0
"""How long a fault waits for the first task of a new queue to be confirmed."""
_LOOK = 0.005
"""RabbitMQ may lose a queue for half a second only: a busy machine takes longer to end the sender."""


class NewQueues:
    """`send` begins a queue and returns when all of its tasks are confirmed; `is_confirmed` tells whether one is;
    `start` runs something in a thread.
    """

    def __init__(
        self,
        queues: list[NewQueue],
        send: Callable[[NewQueue], None],
        is_confirmed: Callable[[NewQueue], bool],
        start: Callable[[Callable[[], None]], None],
    ) -> None:
        self._left = deque(sorted(queues, key=lambda new: new.at))
        self._send = send
        self._is_confirmed = is_confirmed
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
        """Begin the next one now; returns as soon as one of its tasks is confirmed: whether that was at once."""
        try:
            new = self._left.popleft()
        except IndexError:
            return False
        self._start(lambda: self._send(new))
        deadline = time.monotonic() + FIRST_SECONDS
        while not (is_confirmed := self._is_confirmed(new)) and time.monotonic() < deadline:
            time.sleep(_LOOK)
        return is_confirmed

"""The time of coroutines that share an event loop, where one that blocks it takes the time of all others."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from math import inf
from typing import Any, ClassVar, Generic, TypeVar

Result = TypeVar("Result")
BLOCKING = 0.1
"""Seconds from which on a step blocks the loop; asyncio's own debug mode has the same figure."""


class Timed(Generic[Result]):
    """Runs a coroutine, and measures its time without that in which others blocked the loop. What is in tasks that it
    starts itself is not seen.
    """

    blocked: ClassVar[float] = 0.0
    """Seconds in which the loop was blocked so far; there is one loop in a process."""

    def __init__(self, start: Callable[[], Coroutine[Any, Any, Result]], timeout: float | None) -> None:
        self._start = start
        self._ends_at = inf if timeout is None else time.monotonic() + timeout - Timed.blocked
        self.is_late = False
        """Whether its time was up while it blocked the loop."""

    @property
    def left(self) -> float:
        """Seconds that it still has."""
        return self._ends_at + Timed.blocked - time.monotonic()

    def __await__(self) -> Generator[Any, Any, Result]:
        coroutine = self._start()  # only here: one that is never awaited would be complained about
        step = partial(coroutine.send, None)
        while True:
            began = time.monotonic()
            try:
                awaited = step()
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            finally:
                self._took(time.monotonic() - began)
            try:
                step = partial(coroutine.send, (yield awaited))
            except BaseException as error:  # cancelled
                step = partial(coroutine.throw, error)

    def _took(self, seconds: float) -> None:
        if seconds >= BLOCKING:
            self.is_late |= self.left <= 0.0
            Timed.blocked += seconds
            self._ends_at -= seconds  # its own doing

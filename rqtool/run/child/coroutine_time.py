"""Times coroutines that share an event loop, where one that blocks it costs the others their time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Coroutine, Generator
from math import inf
from mmap import mmap
from typing import Any, ClassVar, Generic, TypeVar

from rqtool.run.encoding import BLOCKED, IN_STEP, SINCE, STEP

Result = TypeVar("Result")
BLOCKING = 0.1
"""Seconds from which on a step blocks the loop; asyncio's own debug mode has the same figure."""


class Timed(Generic[Result]):
    """Runs the coroutine of a task, and measures its time without the time in which others blocked the loop. It does
    not see asyncio tasks that the coroutine starts.
    """

    shared: ClassVar[memoryview[float]] = memoryview(bytearray(STEP.size)).cast("d")
    """Where the worker sees which task is in a step (rqtool.run.encoding); there is one loop in a process."""
    blocked: ClassVar[float] = 0.0
    """Seconds for which steps have blocked the loop, also those that the worker does not see."""

    @classmethod
    def note_in(cls, memory: mmap) -> None:
        """Note steps there; a fork of this process notes its own elsewhere."""
        unseen, cls.shared = cls.shared, memoryview(memory).cast("d")
        os.register_at_fork(after_in_child=lambda: setattr(cls, "shared", unseen))

    def __init__(self, start: Callable[[], Coroutine[Any, Any, Result]], timeout: float | None, number: int) -> None:
        self._start = start
        self._number = number
        self._ends_at = inf if timeout is None else time.monotonic() + timeout - Timed.blocked
        self.is_late = False
        """Whether its time was up while it blocked the loop."""

    @property
    def left(self) -> float:
        """The seconds left to it."""
        return self._ends_at + Timed.blocked - time.monotonic()

    def __await__(self) -> Generator[Any, Any, Result]:
        coroutine = self._start()  # only here: one that is never awaited would be complained about
        step: Callable[[Any], Any] = coroutine.send
        value: Any = None
        number = self._number
        while True:
            shared = Timed.shared  # another one after a fork
            shared[SINCE] = began = time.monotonic()
            shared[IN_STEP] = number
            try:
                awaited = step(value)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            finally:
                if (seconds := time.monotonic() - began) >= BLOCKING:
                    self._blocked(seconds)
                Timed.shared[IN_STEP] = 0  # last, so that the worker does not miss the time that it took
            try:
                step, value = coroutine.send, (yield awaited)
            except BaseException as error:  # cancelled
                step, value = coroutine.throw, error

    def _blocked(self, seconds: float) -> None:
        if not self.is_late:  # a late task must not put off its own end: the worker allows for this time
            Timed.shared[BLOCKED] += seconds
        self.is_late |= self.left <= 0.0
        Timed.blocked += seconds
        self._ends_at -= seconds  # its own doing

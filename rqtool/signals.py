"""Ctrl-C, SIGTERM and SIGHUP: the first one asks us to finish, the second one to leave at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, TypeVar

CANCEL_SECONDS = 5.0
"""For cancelled work to clean up."""
REPORT_SECONDS = 1.0
"""For the report of a run that a first signal has ended, after a second one."""

T = TypeVar("T")


class Signals:
    """Counts SIGINT, SIGTERM and SIGHUP on the running loop while it is entered, and calls `changed` for each.

    SIGHUP counts unless it is ignored: `nohup` must still work. `grace`: so many seconds after the first signal count
    as a second one, and `changed` is called; None: never. After a signal, the program must report and end.
    """

    def __init__(self, changed: Callable[[], None] = lambda: None, grace: float | None = None) -> None:
        self._on_change = changed
        self._numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            self._numbers.append(signal.SIGHUP)
        self._grace = grace
        self._grace_is_over = False
        self.count = 0
        self.last = 0
        self._changed = asyncio.Event()

    @property
    def finish(self) -> bool:
        """Start nothing new, finish what runs."""
        return self.count >= 1

    @property
    def leave(self) -> bool:
        """Stop what runs."""
        return self.count >= 2 or self._grace_is_over

    async def interrupt(
        self, work: Coroutine[Any, Any, T], when: Callable[[], bool], seconds: float = CANCEL_SECONDS
    ) -> T | None:
        """Run `work`; cancel it and return None if `when()` is true at the start, or after a signal or `look_again`.
        `seconds`: how long cancelled work may take to clean up.
        """
        task = asyncio.ensure_future(work)
        while not task.done():
            if when():
                task.cancel()
                await asyncio.wait({task}, timeout=seconds)
                return None
            self._changed.clear()
            signalled = asyncio.ensure_future(self._changed.wait())
            await asyncio.wait({task, signalled}, return_when=asyncio.FIRST_COMPLETED)
            signalled.cancel()
        return task.result()

    def look_again(self) -> None:
        """Something else has changed that may interrupt."""
        self._changed.set()

    def __enter__(self) -> Signals:
        loop = asyncio.get_running_loop()
        for number in self._numbers:
            loop.add_signal_handler(number, self._received, number)
        return self

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for number in self._numbers:
            loop.remove_signal_handler(number)
            if self.count:
                signal.signal(number, _received_late)

    def _received(self, number: int) -> None:
        if number == signal.SIGHUP and self.count:
            return  # a closing terminal may send two, and a service manager may send one after SIGTERM
        self.count += 1
        self.last = number
        if self.count == 1 and self._grace is not None:
            asyncio.get_running_loop().call_later(self._grace, self._end_grace)
        self._notify()

    def _end_grace(self) -> None:
        self._grace_is_over = True
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._on_change()


def _received_late(number: int, _frame: FrameType | None) -> None:
    """A second signal that comes while the run reports how it ended: that has a moment left."""
    signal.signal(number, signal.SIG_IGN)
    if number != signal.SIGHUP:
        signal.signal(signal.SIGALRM, lambda *_: os._exit(128 + number))
        signal.setitimer(signal.ITIMER_REAL, REPORT_SECONDS)

"""Ctrl-C, SIGTERM and SIGHUP: the first asks to finish, the second to leave at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar


def _handled() -> list[signal.Signals]:
    """SIGHUP comes when the terminal is closed; `nohup` has it ignored, and that holds."""
    ignores = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([] if ignores else [signal.SIGHUP])]


CANCEL_SECONDS = 5.0
"""What is cancelled may have something to put in order, but not for ever."""

T = TypeVar("T")


class Signals:
    """Counts SIGINT, SIGTERM and SIGHUP while it is entered, on the running loop; `told` is called for each.

    `grace`: seconds after the first one that count as a second one; None: nothing does.
    """

    def __init__(self, told: Callable[[], None], grace: float | None = None) -> None:
        self._told = told
        self._numbers = _handled()
        self._grace = grace
        self._grace_over = False
        self.count = 0
        self.last = 0
        self._changed = asyncio.Event()

    @property
    def finish(self) -> bool:
        """Take no more, end what runs."""
        return self.count >= 1

    @property
    def leave(self) -> bool:
        """Drop what runs."""
        return self.count >= 2 or self._grace_over

    async def interrupt(
        self, work: Coroutine[Any, Any, T], when: Callable[[], bool], seconds: float = CANCEL_SECONDS
    ) -> T | None:
        """Run `work`; cancel it and return None if `when()` holds at the start or after a signal.

        `seconds`: what it gets to put things in order when it is cancelled.
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

    def __enter__(self) -> Signals:
        loop = asyncio.get_running_loop()
        for number in self._numbers:
            loop.add_signal_handler(number, self._received, number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop = asyncio.get_running_loop()
        for number in self._numbers:
            loop.remove_signal_handler(number)

    def _received(self, number: int) -> None:
        if number == signal.SIGHUP and self.count:
            return  # a terminal that closes says so once or twice, a service manager after SIGTERM
        self.count += 1
        self.last = number
        if self.count == 1 and self._grace is not None:
            asyncio.get_running_loop().call_later(self._grace, self._end_of_grace)
        self._changed.set()
        self._told()

    def _end_of_grace(self) -> None:
        self._grace_over = True
        self._changed.set()
        self._told()

"""When the time of tasks is up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rqtool.run.lane import Entry


class TimeLimits:
    """A timer for each task at work; none where `seconds` is None."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._timers: dict[Entry, asyncio.TimerHandle] = {}

    def start(self, entry: Entry, grace: float, expired: Callable[[], None]) -> None:
        """Have `expired` called so many seconds after the task's time is up; its time goes on where it has begun."""
        if self._seconds is not None and entry not in self._timers:
            self._timers[entry] = asyncio.get_running_loop().call_later(self._seconds + grace, expired)

    def stop(self, *entries: Entry) -> None:
        for entry in entries if self._timers else ():
            timer = self._timers.pop(entry, None)
            if timer is not None:
                timer.cancel()

    def stop_all(self) -> None:
        self.stop(*list(self._timers))

    def late(self) -> set[Entry]:
        """Those whose time is up."""
        now = asyncio.get_running_loop().time()
        return {entry for entry, timer in self._timers.items() if timer.when() <= now}

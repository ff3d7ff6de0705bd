"""When a worker pauses, because something that its tasks need is broken or scarce. Pure.

A broken downstream service fails every task. Without pauses, a worker would use up all attempts of a whole queue before
anyone notices.
"""

from __future__ import annotations

TOLERATED = 9
"""First attempts that may fail in a row before a worker pauses."""
FIRST, LONGEST = 1.0, 30.0
"""Seconds: the first pause, and the longest one."""


class Brake:
    """Pauses that grow up to `longest` while failures follow each other, after `tolerated` in a row; None: never.

    A task that fails during a pause began before it, and does not prolong it. Times are in seconds, of any clock that
    only goes forward.
    """

    def __init__(self, tolerated: int | None = 0, longest: float = LONGEST) -> None:
        self._tolerated = tolerated
        self.longest = longest
        self.release()

    def release(self) -> None:
        """Something succeeded: full speed."""
        self.in_a_row = 0
        """Failures since the last success."""
        self._fresh_in_a_row = 0
        self._pause = 0.0
        self._until = 0.0

    @property
    def is_on(self) -> bool:
        """Whether there was a pause, and no success since."""
        return self._pause > 0

    def left(self, now: float) -> float:
        """For how many seconds no task may begin."""
        return max(self._until - now, 0.0) if self.is_on else 0.0

    def failed(self, now: float, *, again: bool = False) -> float:
        """Count a failure; `again`: of a task that has failed before. Returns the length of the pause that begins with
        it, 0 for none.

        Tasks that have failed before are likely to fail again, and come together at the end of a queue: they prolong
        pauses, but alone begin none.
        """
        self.in_a_row += 1
        self._fresh_in_a_row += not again
        if self._tolerated is None or self._fresh_in_a_row <= self._tolerated or self.left(now):
            return 0.0
        self._pause = min(2 * self._pause if self.is_on else FIRST, self.longest)
        self._until = now + self._pause
        return self._pause

"""When a worker pauses, since what its tasks need is broken or short. Pure.

A broken downstream fails every task. Without a pause a worker would use up all attempts of a whole queue in the time
that it takes to notice.
"""

from __future__ import annotations

TOLERATED = 9
"""First attempts that may fail in a row before a worker pauses."""
FIRST, LONGEST = 1.0, 30.0
"""Seconds: the first pause, and the longest one."""


class Brake:
    """Pauses that grow up to `longest` while one failure follows the other, from the one after `tolerated` on; None:
    never.

    What fails during a pause had begun before it, and does not prolong it. Times are in seconds, of any clock that only
    goes forward.
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
        """How long nothing is to begin, in seconds."""
        return max(self._until - now, 0.0) if self.is_on else 0.0

    def failed(self, now: float, *, again: bool = False) -> float:
        """Count a failure; `again`: of a task that has failed before. Returns the length of the pause that begins with
        it, 0 for none.

        What has failed before is likely to fail again, and comes together at the end of a queue: it prolongs pauses,
        and alone begins none.
        """
        self.in_a_row += 1
        self._fresh_in_a_row += not again
        if self._tolerated is None or self._fresh_in_a_row <= self._tolerated or self.left(now):
            return 0.0
        self._pause = min(2 * self._pause if self.is_on else FIRST, self.longest)
        self._until = now + self._pause
        return self._pause

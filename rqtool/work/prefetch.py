"""The prefetch where the user gives none: enough to keep the jobs busy, little behind a slow task. Pure.

A prefetch that is no more than the jobs costs a round trip to the broker between two tasks: half the time of a short
one. More of it must not wait behind a slow one, which another worker could do meanwhile. So it begins with as many as
there are jobs, grows when tasks turn out to be short, and when one is slow what waits goes back to the broker.
https://www.rabbitmq.com/docs/consumer-prefetch
"""

from __future__ import annotations

AHEAD = 0.1
"""Seconds of work that may wait in a worker."""
SHORT = 0.02
"""Seconds that a task takes beside which a round trip to the broker counts."""
MOST = 400
_LEARNT = 20
"""Tasks from which the duration of the next ones can be told."""
_SHARE = 4
"""Of so many short tasks in a row one may be given back."""
_WEIGHT = 0.1


class Prefetch:
    """How many tasks to hold for so many `jobs` at once, at `most`, by the seconds that tasks took."""

    def __init__(self, jobs: int, most: int) -> None:
        self.jobs = jobs
        self.most = most
        self.ended = 0
        self.forget()

    def forget(self) -> None:
        """Begin anew: the tasks have changed."""
        self._seconds = 0.0
        self._count = 0

    def took(self, seconds: float) -> None:
        """Learn from a task that has ended."""
        self.ended += 1
        self._count += 1
        self._seconds += (seconds - self._seconds) * max(_WEIGHT, 1 / self._count)

    @property
    def wanted(self) -> int:
        """Tasks at once, those at work included."""
        if self._count < _LEARNT or self._seconds > SHORT:
            return min(self.jobs, self.most)
        ahead = min(self.jobs * AHEAD / max(self._seconds, 0.001), self._count / _SHARE, MOST)
        return min(self.jobs + int(ahead), self.most)

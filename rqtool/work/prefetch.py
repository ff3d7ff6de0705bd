"""The prefetch if the user gives none: enough to keep the jobs busy, but little behind a slow task. Pure.

With a prefetch of one per job, each task costs a round trip to the broker: half the time of a short task. With more,
tasks may wait behind a slow one although another worker could run them. So it begins with one per job and grows when
tasks turn out to be short; when one is slow, the waiting tasks go back to the broker.
https://www.rabbitmq.com/docs/consumer-prefetch
"""

from __future__ import annotations

AHEAD = 0.06
"""Seconds of work that may wait in a worker. What it gives back for a slow task waits as long again in another one."""
FASTEST = 0.0006
"""Seconds: more tasks ahead than this allows are of no use, however fast they are."""
SHORT = 0.02
"""Tasks of up to so many seconds are short, and so are those of up to two round trips to the broker: beside them a
round trip matters.
"""
MOST = 400
_LEARNT = 20
"""So many tasks are enough to predict the duration of the next ones."""
_SHARE = 4
"""One of so many short tasks in a row may be given back."""
_WEIGHT = 0.1


class Prefetch:
    """Learns from the durations of tasks how many to hold for so many `jobs` at once, `most` at most."""

    def __init__(self, jobs: int, most: int) -> None:
        self.jobs = jobs
        self.most = most
        self.ended = 0
        self.round_trip = 0.0
        """Seconds between an ack and the next delivery: so much work more is on its way."""
        self.forget()

    def forget(self) -> None:
        """Start over: the tasks have changed."""
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
        if self._count < _LEARNT or self._seconds > max(SHORT, 2 * self.round_trip):
            return min(self.jobs, self.most)
        ahead = min(self.jobs * AHEAD / max(self._seconds, FASTEST), MOST) * (1 + self.round_trip / AHEAD)
        ahead = min(ahead, self._count / _SHARE)
        return min(self.jobs + int(ahead), self.most)

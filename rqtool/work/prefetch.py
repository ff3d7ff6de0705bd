"""Chooses the prefetch where the user gives none: enough to keep the jobs busy, little behind a slow task.

A prefetch that is no more than the jobs costs a round trip to the broker between two tasks: half the time of a short
one. More of it must not wait behind a slow one, which another worker could do meanwhile. So it begins with as many as
there are jobs, grows when tasks turn out to be short, and when one is slow what waits goes back to the broker.
https://www.rabbitmq.com/docs/consumer-prefetch
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rqtool.amqp.errors import Lost
from rqtool.work.jobs import Jobs
from rqtool.work.session import Session
from rqtool.work.subscription import Subscription
from rqtool.work.supervisor import Supervisor

if TYPE_CHECKING:
    from rqtool.work.dispatch import Dispatcher

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
_LOOK, _LOOKS = 0.025, 3
"""Seconds between two looks whether tasks go on, and after how many it is clear that they don't."""
_REASON = "a slow task"


class Prefetch:
    """How many tasks to hold for so many `jobs` at once, at `most`, by the seconds that tasks took. Pure."""

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


@dataclass(frozen=True, slots=True)
class AdaptivePrefetch:
    """Widens a worker's consumers while tasks are short, and narrows them when one is slow."""

    jobs: Jobs
    session: Session
    dispatcher: Dispatcher
    supervisor: Supervisor

    @property
    def prefetch(self) -> Prefetch:
        return self.dispatcher.prefetch

    async def run(self) -> None:
        """Adapt for as long as the worker runs. Never ends."""
        while True:
            await self.supervisor.change()
            subscription = self.session.usable
            if subscription is None:
                continue
            with suppress(Lost):  # the worker opens another connection, and begins narrow
                if await self._widen(subscription) and await self._becomes_slow(subscription):
                    await self._narrow(subscription)

    async def _widen(self, subscription: Subscription) -> bool:
        """Raises Lost."""
        if self.prefetch.wanted < 2 * subscription.prefetch or not subscription.may_give_back:
            return False
        subscription.prefetch = self.prefetch.wanted
        await subscription.renew()
        return True

    async def _becomes_slow(self, subscription: Subscription) -> bool:
        """Wait until tasks wait and none ends. Returns False when the connection goes before that. Raises Lost."""
        looks, ends = 0, self.prefetch.ended
        while self.session.usable is subscription:
            await asyncio.sleep(_LOOK)
            waits = bool(self.jobs.waiting) or self.jobs.at_work > self.prefetch.jobs
            looks = looks + 1 if self.prefetch.ended == ends and waits else 0
            if looks == _LOOKS:
                return True
            if self.prefetch.ended != ends:
                await self._widen(subscription)
            ends = self.prefetch.ended
        return False

    async def _narrow(self, subscription: Subscription) -> None:
        """Give back what waits, and take as much as the jobs have room for. Raises Lost."""
        self.prefetch.forget()
        await subscription.pause(_REASON)
        if self.session.usable is not subscription:
            return
        self.dispatcher.return_waiting()
        self.dispatcher.return_withdrawn()
        slow = self.jobs.working
        subscription.prefetch = 0
        while self.session.usable is subscription:
            seen = self.supervisor.changes
            slow = [job for job in slow if job.is_at_work]
            # What the slow ones hold is not counted on the consumers' new channels.
            free = min(self.prefetch.jobs - len(slow), self.prefetch.most)
            if free > subscription.prefetch:
                subscription.prefetch = free
                await subscription.resume(_REASON)
            elif not slow:
                return
            else:
                await self.supervisor.change(seen)
                await asyncio.sleep(_LOOK)

"""Chooses the prefetch where the user gives none: enough to keep the jobs busy, little that waits behind a slow task.

A prefetch that is no more than the jobs costs a round trip to the broker between two tasks: half the time of a short
one. More of it must not wait behind a slow one, which another worker could do meanwhile. So it begins with as many as
there are jobs, grows when tasks turn out to be short, and when one is slow what waits goes back to the broker.
https://www.rabbitmq.com/docs/consumer-prefetch
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from rqtool.amqp.errors import Lost
from rqtool.work.settle import WorkerJobs
from rqtool.work.subscription import Subscription

AHEAD = 0.1
"""Seconds of work that may wait in a worker."""
SHORT = 0.02
"""Seconds that a task takes beside which a round trip to the broker counts."""
MOST = 400
_LEARNT = 20
"""Tasks that say enough."""
_SHARE = 4
"""Of so many short tasks in a row one may be given back."""
_WEIGHT = 0.1
_LOOK, _LOOKS = 0.025, 3
"""Seconds between two looks whether tasks go on, and after how many it is clear that they don't."""
_REASON = "a slow task"


class Prefetch:
    """How many tasks to hold, by the seconds that tasks took. Pure."""

    def __init__(self, jobs: int, most: int) -> None:
        self._jobs = jobs
        self.most = most
        self.ended = 0
        """How many tasks have."""
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
            return min(self._jobs, self.most)
        ahead = min(self._jobs * AHEAD / max(self._seconds, 0.001), self._count / _SHARE, MOST)
        return min(self._jobs + int(ahead), self.most)


class AdaptivePrefetch:
    """Widens and narrows a worker's consumers. `at_once`: how many tasks the worker runs; `subscription` returns its
    own, None while there is none or nothing more may begin; `give_back` returns to the broker what has not begun.
    """

    def __init__(
        self,
        prefetch: Prefetch,
        at_once: int,
        jobs: WorkerJobs,
        subscription: Callable[[], Subscription | None],
        give_back: Callable[[], None],
    ) -> None:
        self._prefetch = prefetch
        self._at_once = at_once
        self._jobs = jobs
        self._subscription = subscription
        self._give_back = give_back
        self._changed = asyncio.Event()

    def stir(self) -> None:
        """Some task may have ended."""
        self._changed.set()

    async def run(self) -> None:
        """Adapt for as long as the worker runs."""
        while True:
            await self._next_change()
            subscription = self._subscription()
            if subscription is None:
                continue
            with suppress(Lost):  # the worker opens another connection, and begins narrow
                if await self._widen(subscription) and await self._becomes_slow(subscription):
                    await self._narrow(subscription)

    async def _widen(self, subscription: Subscription) -> bool:
        """Raises Lost."""
        if self._prefetch.wanted < 2 * subscription.prefetch or not subscription.may_give_back:
            return False
        subscription.prefetch = self._prefetch.wanted
        await subscription.renew()
        return True

    async def _becomes_slow(self, subscription: Subscription) -> bool:
        """Wait until tasks wait and none ends. Returns False when the connection is gone before. Raises Lost."""
        looks, ends = 0, self._prefetch.ended
        while self._subscription() is subscription:
            await asyncio.sleep(_LOOK)
            looks = looks + 1 if self._prefetch.ended == ends and self._jobs.waits_behind(self._at_once) else 0
            if looks == _LOOKS:
                return True
            if self._prefetch.ended != ends:
                await self._widen(subscription)
            ends = self._prefetch.ended
        return False

    async def _narrow(self, subscription: Subscription) -> None:
        """Give back what waits, and take as much as the jobs have room for. Raises Lost."""
        self._prefetch.forget()
        await subscription.pause(_REASON)
        if self._subscription() is not subscription:
            return
        self._give_back()
        slow = set(self._jobs.running)
        subscription.prefetch = 0
        while self._subscription() is subscription:
            self._changed.clear()
            # What the slow ones hold is not counted on the consumers' new channels.
            free = min(self._at_once - len(slow & self._jobs.running), self._prefetch.most)
            if free > subscription.prefetch:
                subscription.prefetch = free
                await subscription.resume(_REASON)
            elif not slow & self._jobs.running:
                return
            else:
                await self._changed.wait()
                await asyncio.sleep(_LOOK)

    async def _next_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

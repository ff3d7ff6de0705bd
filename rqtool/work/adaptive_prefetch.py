"""Widens and narrows a worker's consumers as rqtool.work.prefetch says."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from rqtool.amqp.errors import Lost
from rqtool.work.dispatch import Dispatcher
from rqtool.work.jobs import Jobs
from rqtool.work.lifecycle import Lifecycle
from rqtool.work.session import Session
from rqtool.work.subscription import Subscription

_LOOK, _LOOKS = 0.025, 3
"""Seconds between two checks that tasks make progress, and how many in a row without any show a slow task. As many more
as fit into three round trips: beside these, longer tasks count as short.
"""
_REASON = "a slow task"


@dataclass(frozen=True, slots=True)
class AdaptivePrefetch:
    """Widens a worker's consumers while tasks are short, and narrows them when one is slow."""

    jobs: Jobs
    session: Session
    dispatcher: Dispatcher
    lifecycle: Lifecycle

    async def run(self) -> None:
        """Adapt for as long as the worker runs. Never ends."""
        while True:
            await self.lifecycle.change()
            subscription = self.session.usable
            if subscription is None:
                continue
            with suppress(Lost):  # the worker opens another connection, and begins narrow
                if await self._widen(subscription) and await self._becomes_slow(subscription):
                    await self._narrow(subscription)

    async def _widen(self, subscription: Subscription) -> bool:
        """Raises Lost."""
        self.dispatcher.prefetch.round_trip = subscription.round_trip
        if self.dispatcher.prefetch.wanted < 2 * subscription.prefetch or not subscription.may_give_back:
            return False
        subscription.prefetch = self.dispatcher.prefetch.wanted
        await subscription.renew()
        return True

    async def _becomes_slow(self, subscription: Subscription) -> bool:
        """Wait until tasks wait and none ends. Returns False when the connection goes before that. Raises Lost."""
        looks, ends = 0, self.dispatcher.prefetch.ended
        most = _LOOKS + int(3 * subscription.round_trip / _LOOK)
        while self.session.usable is subscription:
            await asyncio.sleep(_LOOK)
            waits = bool(self.jobs.waiting) or self.jobs.at_work > self.dispatcher.prefetch.jobs
            looks = looks + 1 if self.dispatcher.prefetch.ended == ends and waits else 0
            if looks == most:
                return True
            if self.dispatcher.prefetch.ended != ends:
                await self._widen(subscription)
            ends = self.dispatcher.prefetch.ended
        return False

    async def _narrow(self, subscription: Subscription) -> None:
        """Give back the waiting tasks, and take as many as there are free jobs. Raises Lost."""
        self.dispatcher.prefetch.forget()
        await subscription.pause(_REASON)
        if self.session.usable is not subscription:
            return
        self.dispatcher.return_waiting()
        self.dispatcher.return_withdrawn()
        slow = self.jobs.working
        subscription.prefetch = 0
        while self.session.usable is subscription:
            seen = self.lifecycle.changes
            slow = [job for job in slow if job.is_at_work]
            # Messages held by slow tasks don't count on the consumers' new channels.
            free = min(self.dispatcher.prefetch.jobs - len(slow), self.dispatcher.prefetch.most)
            if free > subscription.prefetch:
                subscription.prefetch = free
                await subscription.resume(_REASON)
            elif not slow:
                return
            else:
                await self.lifecycle.change(seen)
                await asyncio.sleep(_LOOK)

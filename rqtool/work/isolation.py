"""Runs the tasks of NAME.quarantine, each alone in its worker: what then happens to the worker is that task's doing."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from rqtool.amqp.consumer import Delivery
from rqtool.amqp.errors import Lost
from rqtool.work.settle import WorkerJobs
from rqtool.work.subscription import Subscription

LOOK = 1.0
"""Seconds between two looks into the quarantine."""
PATIENCE = 5.0
"""Seconds that a busy worker leaves to those that have nothing to do."""
SPELL = 10.0
"""Seconds that a worker gives to the quarantine before it goes on with its queue, if there is more there."""


class Isolation:
    """`subscription` returns the worker's, None while there is none or nothing more may begin; `put_back` returns a
    task that waits for its start; `take` begins one, or decides otherwise; `changed` is called when others may begin.

    While it is `on`, no other task may begin.
    """

    def __init__(
        self,
        jobs: WorkerJobs,
        subscription: Callable[[], Subscription | None],
        put_back: Callable[[Delivery], None],
        take: Callable[[Delivery], None],
        changed: Callable[[], None],
    ) -> None:
        self._jobs = jobs
        self._subscription = subscription
        self._put_back = put_back
        self._take = take
        self._changed = changed
        self._stirred = asyncio.Event()
        self.on = False

    def stir(self) -> None:
        """Some task has ended, or the worker is about to."""
        self._stirred.set()

    async def run(self) -> None:
        """Look into the quarantine again and again."""
        while True:
            await asyncio.sleep(LOOK * random.uniform(0.5, 1.5))  # noqa: S311
            try:
                await self._visit()
            except Lost:
                continue  # the worker opens another connection

    async def _visit(self) -> None:
        subscription = self._subscription()
        if subscription is None or not await subscription.count_suspects():
            return
        if not self._jobs.idle:
            await asyncio.sleep(random.uniform(0, PATIENCE))  # noqa: S311
            if self._subscription() is not subscription or not await subscription.count_suspects():
                return
        self.on = True
        try:
            await self._run_alone(subscription)
        finally:
            self.on = False
            self._changed()

    async def _run_alone(self, subscription: Subscription) -> None:
        until = time.monotonic() + SPELL
        while self._jobs.running:
            await self._wait(LOOK)
            if self._jobs.running and (time.monotonic() > until or not await subscription.count_suspects()):
                return  # a long task, or others were faster
        # What waits in this worker would be suspected as well, if the suspect kills it.
        await subscription.pause("isolation")
        try:
            for delivery in self._jobs.give_up_waiting():
                self._put_back(delivery)
            await self._settled()
            await self._take_suspects(subscription)
        finally:
            await subscription.resume("isolation")

    async def _take_suspects(self, subscription: Subscription) -> None:
        until = time.monotonic() + SPELL
        while time.monotonic() < until and self._subscription() is subscription:
            suspect = await subscription.take_suspect()
            if suspect is None:
                return
            if self._subscription() is subscription:
                self._take(suspect)
            else:
                self._put_back(suspect)
            await self._settled()

    async def _settled(self) -> None:
        """Wait until every ack is sent: the next suspect may kill this worker."""
        while self._jobs.at_work:
            await self._wait(LOOK)

    async def _wait(self, seconds: float) -> None:
        """Wait for a change, but no longer than that."""
        self._stirred.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._stirred.wait()
        except TimeoutError:
            return

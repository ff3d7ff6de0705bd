"""A worker's subscription, reopened after each lost connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from rqtool.amqp.connect import keep_trying
from rqtool.amqp.connection import CLOSE_SECONDS
from rqtool.errors import AccessRefused, RqtoolError, UnsafeQueue
from rqtool.work.jobs import Jobs
from rqtool.work.lifecycle import Lifecycle
from rqtool.work.report.events import Events
from rqtool.work.subscription import Subscription


class Session:
    """The current subscription, which `subscribe` opens, and whether more tasks are wanted from it."""

    def __init__(
        self, subscribe: Callable[[], Awaitable[Subscription]], jobs: Jobs, events: Events, lifecycle: Lifecycle
    ) -> None:
        self._subscribe = subscribe
        self._jobs = jobs
        self._events = events
        self._lifecycle = lifecycle
        self._stopped = False
        self._tries = self._received = 0
        self.subscription: Subscription | None = None

    @property
    def ending(self) -> bool:
        """Whether the worker takes no more tasks."""
        return self._lifecycle.stopping or self._jobs.taken_on_enough

    @property
    def usable(self) -> Subscription | None:
        """The subscription, if tasks that it delivers may begin."""
        return None if self._stopped or self.ending else self.subscription

    @property
    def lost(self) -> bool:
        return self.subscription is not None and self.subscription.lost.done()

    @property
    def is_open(self) -> bool:
        return self.subscription is not None and not (self._stopped or self.lost)

    async def open(self) -> None:
        """Connect, declare, consume. The first failure ends the worker; later ones are retried."""
        before = self.subscription
        if before is not None:
            self._jobs.connection_lost()
            if before.connection.lost.done():
                self._jobs.interruptions.append(time.time())
            if before.lost.done():  # else the worker had taken on enough, and returned some of it
                self._events.connection_lost(str(before.lost.result()))
            await before.connection.close()
        if self._lifecycle.stopping:
            return

        def on_failure(error: RqtoolError) -> None:
            if before is None:
                raise error
            if isinstance(error, AccessRefused):  # unlike a broker that is away, it may stay so
                self._events.say_once(f"{error.what}; trying again")

        if self._jobs.received != self._received:
            self._received, self._tries = self._jobs.received, 0
        opening = keep_trying(self._subscribe, on_failure, self._tries)
        self._tries += 1
        try:
            opened = await self._lifecycle.signals.interrupt(opening, lambda: self._lifecycle.stopping)
        except UnsafeQueue as error:
            if before is None:
                raise
            self._lifecycle.fail(error)
            return
        if opened is not None:
            self.subscription, self._stopped = opened, False
            opened.lost.add_done_callback(lambda _: self._lifecycle.changed())
            if before is not None:
                self._events.connection_back(str(opened.connection.url))
            for warning in opened.warnings:
                self._events.say_once(warning)

    async def stop(self) -> None:
        """Ask for no more tasks. Neither a second signal nor the end waits for a broker that is frozen."""
        if self.subscription is not None and not self._stopped:
            self._stopped = True
            stopping = asyncio.wait_for(self.subscription.pause("the end"), CLOSE_SECONDS)
            with suppress(TimeoutError):
                await self._lifecycle.signals.interrupt(stopping, lambda: self._lifecycle.signals.leave)

"""Runs the tasks of NAME.quarantine, each alone in its worker: if the worker dies, that task is the suspect."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from dataclasses import dataclass, field

from rqtool.amqp.errors import Lost
from rqtool.errors import AccessRefused, Unreachable
from rqtool.management.api import Management
from rqtool.management.in_thread import in_thread
from rqtool.work.dispatch import Dispatcher
from rqtool.work.jobs import Jobs
from rqtool.work.lifecycle import Lifecycle
from rqtool.work.session import Session
from rqtool.work.subscription import Subscription

LOOK = 1.0
"""Seconds between two checks of the quarantine."""
PATIENCE = 5.0
"""Seconds that a busy worker leaves the quarantine to idle workers."""
SPELL = 10.0
"""Seconds that a worker spends on the quarantine before it returns to its queue. Doubled each time that its running
tasks did not end within them, so that no suspect starves beside jobs that never end at the same time.
"""
MOST_ASKING = 8.0
"""Seconds: a node says how long it has been up five seconds after it started."""


@dataclass(slots=True)
class Quarantine:
    """While one of its tasks runs, or waits to run, the dispatcher is `suspended`."""

    api: Management
    jobs: Jobs
    session: Session
    dispatcher: Dispatcher
    lifecycle: Lifecycle
    _asked: bool = field(default=False, init=False)
    _in_vain: int = field(default=0, init=False)

    async def run(self) -> None:
        """Check the quarantine again and again. Never ends."""
        while True:
            await asyncio.sleep(LOOK * random.uniform(0.5, 1.5))  # noqa: S311
            with suppress(Lost):  # the worker opens another connection
                await self._visit()

    async def _visit(self) -> None:
        subscription = self.session.usable
        if subscription is None or not await subscription.count_suspects():
            return
        await self._learn_of_a_crash()
        if not self.jobs.idle:
            await asyncio.sleep(random.uniform(0, PATIENCE))  # noqa: S311
            if self.session.usable is not subscription or not await subscription.count_suspects():
                return
        self.dispatcher.suspended = True
        try:
            await self._run_alone(subscription)
        finally:
            self.dispatcher.suspended = False
            self.lifecycle.changed()

    async def _learn_of_a_crash(self) -> None:
        """Ask once when the broker last started, unless this worker has lost its connection since it began."""
        if not (self._asked or self.jobs.interruptions):
            with suppress(TimeoutError, AccessRefused):
                self.jobs.interruptions.append(await asyncio.wait_for(self._last_start(), MOST_ASKING))
        self._asked = True

    async def _last_start(self) -> float:
        while True:
            with suppress(Unreachable):
                if (started := await in_thread(self.api.last_start)) is not None:
                    return started
            await asyncio.sleep(LOOK)

    async def _run_alone(self, subscription: Subscription) -> None:
        await subscription.pause("quarantine")  # another worker may have room for the rest
        try:
            if await self._until_alone(subscription):
                # Tasks that wait here would be suspected as well, if the suspect kills this worker.
                self.dispatcher.return_waiting()
                await self._until_settled()
                await self._take_suspects(subscription)
        finally:
            await subscription.resume("quarantine")

    async def _until_alone(self, subscription: Subscription) -> bool:
        """Wait until nothing is at work. Returns whether that happened in time, and before others took the suspects."""
        until = time.monotonic() + SPELL * 2**self._in_vain
        while self.jobs.at_work:
            await self._change()
            if self.jobs.at_work and not await subscription.count_suspects():
                return False
            if self.jobs.at_work and time.monotonic() > until:
                self._in_vain += 1
                return False
        self._in_vain = 0
        return True

    async def _take_suspects(self, subscription: Subscription) -> None:
        until = time.monotonic() + SPELL
        while time.monotonic() < until and self.session.usable is subscription:
            suspect = await subscription.take_suspect()
            if suspect is None:
                return
            self.dispatcher.receive_suspect(suspect, may_begin=self.session.usable is subscription)
            await self._until_settled()

    async def _until_settled(self) -> None:
        """Wait until every ack is sent: the next suspect may kill this worker."""
        while self.jobs.at_work or self.jobs.leaving:
            await self._change()

    async def _change(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.lifecycle.change(), LOOK)

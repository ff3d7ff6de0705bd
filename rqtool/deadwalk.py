"""Taking the tasks of a dead queue, the oldest first, and giving back in order what is not taken out for good.

It goes in waves: a consumer takes some of those that were there at the beginning, and is cancelled before any of them
is settled. So nothing comes that was put there meanwhile, and nothing has to be returned that was not wanted. What is
kept stays unacknowledged until the end.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from contextlib import suppress

from rqtool.broker.connection import CLOSE_SECONDS, Channel, Connection, Lost, either
from rqtool.broker.consumer import Consumer, Delivery
from rqtool.broker.queues import count_ready, delivery_limit
from rqtool.broker.topology import dead_queue
from rqtool.errors import RqtoolError
from rqtool.headers import count

MOST_AT_ONCE = 500
MOST_BYTES = 64 * 1024 * 1024
"""What the bodies of a wave may take together, going by the largest one so far; the first wave is of one task."""
IDLE = 0.5
"""Seconds without a delivery after which the broker is asked whether anything is left."""
STARVED = 10.0
"""Seconds without a delivery after which it will not give any."""
RETURNED_AT_ONCE, RETURNS_UNDER_WAY = 32, 24
"""A quorum queue of RabbitMQ 3 shuffles what is returned to it by one answer, if that is more than 32 messages, and
puts answers together when it has more than 32 of them before it."""
CATCH_UP_SECONDS = 1.0
_RETURNS, _ACQUIRED = "x-delivery-count", "x-acquired-count"


class Walk:
    """Over what is in the dead queue of `queue` now. Every method raises Lost, and RqtoolError where looking would
    lose tasks.
    """

    def __init__(self, connection: Connection, queue: str) -> None:
        self._connection = connection
        self._queue = queue
        self._name = dead_queue(queue)
        self._wave: list[Delivery] = []
        self._kept: list[tuple[Delivery, int]] = []
        self._guard: int | None = None
        self._size = self._largest = 1
        self._returned = False

    async def open(self, *, keeps: bool) -> None:
        """`keeps`: some of what is taken is going to be given back."""
        self._left = await count_ready(self._connection, self._name)
        self._guard = await self._find_guard() if keeps and self._left else None
        self._channel: Channel = await self._connection.channel()

    @property
    def must_go_on(self) -> bool:
        """A quorum queue gives out first what was returned to it, in the order of the returns: whoever takes and
        returns some of that has to do so with all of it, to leave the order as it was.
        """
        return self._guard is not None and self._returned

    @property
    def lost(self) -> asyncio.Future[Lost]:
        return self._channel.lost

    async def take(self, most: int | None) -> list[Delivery]:
        """Return the next wave, empty at the end."""
        size = min(self._left, self._size, MOST_AT_ONCE, max(1, MOST_BYTES // self._largest), most or MOST_AT_ONCE)
        if size:
            await self._fill(size)
        self._left = self._left - len(self._wave) if self._wave else 0
        self._size = size * 2
        self._largest = max(self._largest, *(len(each.body) for each in self._wave), 1)
        self._returned = bool(self._wave) and self._wave[-1].redelivered
        return self._wave

    def keep(self, *, one_by_one: bool) -> None:
        """Keep what is not settled of the last wave; `one_by_one`: some of it may be settled before the end."""
        live = self._keep(one_by_one=one_by_one)
        if self._channel.lost.done():
            raise self._channel.lost.result()
        if self._guard is not None:
            self._check(live, self._guard)

    async def give_back(self) -> None:
        """Return what is kept. It is in the queue as it was before."""
        self._keep(one_by_one=False)
        kept = [(each, number) for each, number in self._kept if each.live]
        self._kept = []
        with suppress(Lost):
            ready = await count_ready(self._connection, self._name) if self._guard is not None else 0
            for position, (each, number) in enumerate(kept, 1):
                each.requeue_up_to_here()
                ready += number
                if self._guard is not None and position % RETURNS_UNDER_WAY == 0:
                    await self._catch_up(ready)

    def _keep(self, *, one_by_one: bool) -> Sequence[Delivery]:
        live = [each for each in self._wave if each.live]
        for each in live:
            each.body = b""  # large bodies must not gather here
        step = 1 if one_by_one else RETURNED_AT_ONCE
        for start in range(0, len(live), step):
            group = live[start : start + step]
            self._kept.append((group[-1], len(group)))
        self._wave = []
        return live

    async def _catch_up(self, ready: int) -> None:
        """Wait until what was returned is there; not for long, since somebody else may be taking it."""
        deadline = asyncio.get_running_loop().time() + CATCH_UP_SECONDS
        while await count_ready(self._connection, self._name) < ready:
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(0.005)

    async def _fill(self, size: int) -> None:
        """Fill the wave: to `size`, or with what is left in the queue."""
        full: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def arrived(delivery: Delivery) -> None:
            self._wave.append(delivery)
            if len(self._wave) == size:
                full.set_result(None)

        consumer = await Consumer.open(self._connection, self._name, size, arrived, self._channel)
        try:
            waited = 0.0
            while not await either(full, self._channel.lost, IDLE):
                before = len(self._wave)
                waited += IDLE
                if not await count_ready(self._connection, self._name):
                    # What was ready may still be on its way, a large body for instance. A channel is worked off in
                    # order: the answer to any question comes behind it.
                    await self._channel.call(self._channel.raw.basic_qos, prefetch_count=size)
                    if len(self._wave) == before:
                        break
                if waited >= STARVED and not self._wave:
                    raise RqtoolError(
                        f"The broker gives out no task of {self._name!r}, though some are ready",
                        "If another program consumes that queue alone (single active consumer), stop it",
                    )
        finally:
            with suppress(TimeoutError):  # a frozen broker does not answer
                await asyncio.wait_for(consumer.cancel(), CLOSE_SECONDS)
        if self._channel.lost.done():
            raise self._channel.lost.result()

    async def _find_guard(self) -> int | None:
        """After how many returns a task is not to be looked at any more; None: the queue does not count.

        A quorum queue drops a task that is returned too often, unless it has a dead-letter route. The first half of
        the times is ours. Queues that rqtool declares allow 100,000.
        """
        limit = await delivery_limit(self._connection, self._name)
        if limit is not None and limit // 2 == 0:
            raise self._too_dangerous("drops what is returned" + (" twice" if limit else ""))
        return None if limit is None else limit // 2

    def _check(self, kept: Sequence[Delivery], guard: int) -> None:
        # A first delivery can bear the count of the queue that it came from. RabbitMQ 4.3, which tells a second count,
        # does not count what is given back in order.
        returns = [count(each.headers, _RETURNS) for each in kept if each.redelivered and _ACQUIRED not in each.headers]
        most = max(returns, default=0)
        if most >= guard:
            raise self._too_dangerous(f"drops what is returned too often, and some tasks were {most} times")

    def _too_dangerous(self, why: str) -> RqtoolError:
        name = shlex.quote(self._queue)
        return RqtoolError(
            f"Looking at {self._name!r} could lose tasks: that queue {why}",
            f"Put all back with: rqtool dead retry -q {name}; or raise its delivery-limit by a policy",
        )

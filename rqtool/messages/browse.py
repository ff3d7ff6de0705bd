"""Taking the tasks of a dead queue, the oldest first, and giving back in order what is not taken out for good.

It goes in waves: a consumer takes some of those that were there at the beginning, and is cancelled before any of them
is settled. So nothing comes that was put there meanwhile, and nothing has to be returned that was not wanted. What is
not settled stays unacknowledged until the end, and all that is kept of it here is its delivery tag.
"""

from __future__ import annotations

import asyncio
import shlex
import sys
from array import array
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from contextlib import suppress

from rqtool.amqp.connection import CLOSE_SECONDS, Channel, Connection, either
from rqtool.amqp.consumer import Consumer, Delivery
from rqtool.amqp.declare import count_ready, delivery_limit
from rqtool.amqp.errors import Lost
from rqtool.amqp.headers import count
from rqtool.amqp.topology import dead_queue
from rqtool.errors import RqtoolError

MOST_AT_ONCE = 500
MOST_LOOKED_AT = 2_000
"""Waves of a mere look are larger: a classic queue goes through all that it has for each wave that it gets back."""
MOST_BYTES = 64 * 1024 * 1024
"""What the bodies of a wave may take together, going by the largest one so far; the first wave is of one task."""
IDLE = 0.5
"""Seconds without a delivery after which the broker is asked whether anything is left."""
ARRIVING_SECONDS = 1.0
"""How long a wave that is broken off may take to arrive."""
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
        self._tags: list[array[int]] = []
        self._guard: int | None = None
        self._most, self._returned_at_once = MOST_AT_ONCE, RETURNED_AT_ONCE
        self._size = self._largest = 1
        self._returned = False

    async def open(self, *, keeps: bool) -> None:
        """`keeps`: some of what is taken is going to be given back."""
        self._left = await count_ready(self._connection, self._name)
        if keeps and self._left:
            self._most = MOST_LOOKED_AT
            self._guard = await self._find_guard()
            if self._guard is None:  # a classic queue puts each one back into its place
                self._returned_at_once = sys.maxsize
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
        """Return the next wave, empty at the end. What is not settled of it is kept."""
        self._wave = []
        size = min(self._left, self._size, self._most, max(1, MOST_BYTES // self._largest), most or self._most)
        if size:
            await self._whole(self._fill(size))
        self._left = self._left - len(self._wave) if self._wave else 0
        self._size = size * 2
        self._largest = max(self._largest, *(len(each.body) for each in self._wave), 1)
        self._returned = bool(self._wave) and self._wave[-1].redelivered
        if self._guard is not None:
            self._check(self._wave, self._guard)
        return self._wave

    def settle(self, tags: Iterable[int]) -> int:
        """Acknowledge some of what is kept. Returns how many."""
        held = [tag for tag in tags if self._channel.acks.holds(tag)]
        for tag in held:
            self._channel.ack(tag)
        return len(held)

    async def give_back(self) -> None:
        """Return what is kept. It is in the queue as it was before."""
        self._wave = []
        groups = list(self._groups())
        waits = self._guard is not None and len(groups) > RETURNS_UNDER_WAY
        with suppress(Lost):
            ready = await count_ready(self._connection, self._name) if waits else 0
            for position, (last, number) in enumerate(groups, 1):
                self._channel.requeue(last, multiple=True)
                ready += number
                if waits and position % RETURNS_UNDER_WAY == 0:
                    await self._catch_up(ready)

    def _groups(self) -> Iterator[tuple[int, int]]:
        """What is returned by one answer: its last tag, and how many. None has tasks of two waves, which the broker
        would sort by the names of their consumers.
        """
        for tags in self._tags:
            held = [tag for tag in tags if self._channel.acks.holds(tag)]
            for start in range(0, len(held), self._returned_at_once):
                group = held[start : start + self._returned_at_once]
                yield group[-1], len(group)

    async def _catch_up(self, ready: int) -> None:
        """Wait until what was returned is there; not for long, since somebody else may be taking it."""
        deadline = asyncio.get_running_loop().time() + CATCH_UP_SECONDS
        while await count_ready(self._connection, self._name) < ready:
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(0.005)

    async def _whole(self, filling: Coroutine[None, None, None]) -> None:
        """Let a wave arrive that is broken off: what is on its way would go back ahead of what came before it."""
        task = asyncio.ensure_future(filling)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait({task}, timeout=ARRIVING_SECONDS)
            if not task.cancel():
                task.exception()  # asyncio complains of one that nobody asked for
            raise

    async def _fill(self, size: int) -> None:
        """Fill the wave: to `size`, or with what is left in the queue."""
        full: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        tags = array("Q")
        self._tags.append(tags)

        def arrived(delivery: Delivery) -> None:
            self._wave.append(delivery)
            tags.append(delivery.tag)
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

    def _check(self, taken: Sequence[Delivery], guard: int) -> None:
        # A first delivery can bear the count of the queue that it came from. RabbitMQ 4.3, which tells a second count,
        # does not count what is given back in order.
        returns = [
            count(each.headers, _RETURNS) for each in taken if each.redelivered and _ACQUIRED not in each.headers
        ]
        most = max(returns, default=0)
        if most >= guard:
            raise self._too_dangerous(f"drops what is returned too often, and some tasks were {most} times")

    def _too_dangerous(self, why: str) -> RqtoolError:
        name = shlex.quote(self._queue)
        return RqtoolError(
            f"Looking at {self._name!r} could lose tasks: that queue {why}",
            f"Put all back with: rqtool dead retry -q {name}; or raise its delivery-limit by a policy",
        )

"""Reads a dead queue from its head, and returns to it, in order, the messages that are not removed for good.

It reads in batches: a consumer takes some of the messages that were there at the start, and is cancelled before any of
them is settled. So it leaves alone the messages that arrive meanwhile, and takes no more than are wanted. It holds
unacknowledged messages until the end, but keeps only their delivery tags in memory.
"""

from __future__ import annotations

import asyncio
import shlex
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from rqtool.amqp.connection import CLOSE_SECONDS, Channel, Connection, either
from rqtool.amqp.consumer import Consumer, Delivery, Getter
from rqtool.amqp.declare import count_ready, delivery_limit
from rqtool.amqp.errors import RESOURCE_LOCKED, Lost
from rqtool.amqp.headers import count
from rqtool.errors import RqtoolError
from rqtool.topology import dead_queue

LARGEST_BATCH = 500
LARGEST_BATCH_TO_RETURN = 2_000
"""Larger, since a classic queue walks through all its messages for each batch that is returned to it."""
BATCH_BYTES = 64 * 1024 * 1024
"""Limit for the bodies of a batch, estimated by the largest body so far; the first batch is a single message."""
IDLE_SECONDS = 0.5
"""After so long without a delivery, ask the broker whether anything is left."""
ARRIVAL_SECONDS = 1.0
"""How long an interrupted batch may take to arrive."""
STARVED_SECONDS = 10.0
"""After so long without a delivery, assume that the broker won't deliver any."""
RETURNED_AT_ONCE, RETURNS_UNDER_WAY = 32, 24
"""A quorum queue of RabbitMQ 3 shuffles messages that return by one nack if they are more than 32, and merges nacks
when more than 32 of them are waiting."""
CATCH_UP_SECONDS, CLASSIC_CATCH_UP_SECONDS = 5.0, 0.5
"""A classic queue has returned messages ready at once, unless another consumer takes them."""
_RETURNS, _ACQUIRED = "x-delivery-count", "x-acquired-count"


class Browser:
    """Reads what is in the dead queue of `queue` now: the `ready` messages that are there when it is opened.

    Every method raises Lost, and RqtoolError if reading would lose messages.
    """

    def __init__(self, connection: Connection, queue: str) -> None:
        self._connection = connection
        self._queue = queue
        self._name = dead_queue(queue)
        self.ready = 0
        self._batch: list[Delivery] = []
        self._tags: list[array[int]] = []
        self._returns_allowed: int | None = None
        self._has_limit = True
        self._most, self._returned_at_once = LARGEST_BATCH, RETURNED_AT_ONCE
        self._size = self._largest_body = 1
        self._redelivered = False

    async def open(self, *, returns: bool) -> None:
        """Count the ready messages. `returns`: some of the messages read will be returned."""
        self.ready = self._left = await count_ready(self._connection, self._name) or await self._count_by_taking()
        if returns and self._left:
            self._most = LARGEST_BATCH_TO_RETURN
            self._returns_allowed = await self._find_returns_allowed()
            if self._returns_allowed is None:  # a classic queue puts each message back into its place
                self._returned_at_once = sys.maxsize
        self._channel: Channel = await self._connection.channel()

    async def _count_by_taking(self) -> int:
        """A quorum queue without a leader says that it is empty: only an attempt to take a message shows more."""
        try:
            delivery = await Getter(await self._connection.channel()).get(self._name)
        except Lost as lost:
            if lost.code != RESOURCE_LOCKED:  # with a single active consumer there is no such attempt
                raise
            return 0
        if delivery is None:
            return 0
        delivery.requeue()
        return max(1, await count_ready(self._connection, self._name))

    @property
    def has_read(self) -> bool:
        """Whether it took messages: the broker needs time to requeue or delete them."""
        return any(self._tags)

    @property
    def must_read_all(self) -> bool:
        """Whether returning only some messages would change their order.

        A quorum queue delivers returned messages first, in the order of their return; one without a delivery limit last
        (RabbitMQ 3). Unless all of them are read and returned, the rest overtakes.
        """
        return self._returns_allowed is not None and (self._redelivered or not self._has_limit)

    @property
    def lost(self) -> asyncio.Future[Lost]:
        return self._channel.lost

    async def read(self, most: int | None) -> list[Delivery]:
        """Return the next batch, of at most `most` messages; empty at the end. They are held until they are settled."""
        self._batch = []
        size = min(self._left, self._size, self._most, max(1, BATCH_BYTES // self._largest_body), most or self._most)
        if size:
            await self._fill_uninterrupted(size)
        self._left = self._left - len(self._batch) if self._batch else 0
        self._size = size * 2
        self._largest_body = max(self._largest_body, *(len(each.body) for each in self._batch), 1)
        self._redelivered = bool(self._batch) and self._batch[-1].redelivered
        if self._returns_allowed is not None:
            self._check_returns(self._batch, self._returns_allowed)
        return self._batch

    def acknowledge(self, tags: Iterable[int]) -> int:
        """Acknowledge some of the messages held. Returns how many it still held."""
        held = [tag for tag in tags if self._channel.acks.holds(tag)]
        for tag in held:
            self._channel.ack(tag)
        return len(held)

    async def return_all(self) -> None:
        """Return the messages held: the queue is as before, except for those that were acknowledged.

        The queue takes a moment, for which this waits.
        """
        self._batch = []
        groups = list(self._groups())
        waits = bool(groups)
        with suppress(Lost):
            ready = await count_ready(self._connection, self._name) if waits else 0
            for position, (last, number) in enumerate(groups, 1):
                self._channel.requeue(last, multiple=True)
                ready += number
                if waits and (position % RETURNS_UNDER_WAY == 0 or position == len(groups)):
                    waits = await self._catch_up(ready)

    def _groups(self) -> Iterator[tuple[int, int]]:
        """Yield what one nack returns: its last tag, and how many messages. Messages of two batches are never
        returned together: the broker would sort them by the names of their consumers.
        """
        for tags in self._tags:
            held = [tag for tag in tags if self._channel.acks.holds(tag)]
            for start in range(0, len(held), self._returned_at_once):
                group = held[start : start + self._returned_at_once]
                yield group[-1], len(group)

    async def _catch_up(self, ready: int) -> bool:
        """Wait until the returned messages are ready again, but not for long: another consumer may be taking them.

        Returns whether they are.
        """
        seconds = CLASSIC_CATCH_UP_SECONDS if self._returns_allowed is None else CATCH_UP_SECONDS
        deadline = asyncio.get_running_loop().time() + seconds
        while await count_ready(self._connection, self._name) < ready:
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(0.005)
        return True

    async def _fill_uninterrupted(self, size: int) -> None:
        """Fill the batch, and let it arrive even if we are cancelled: messages in flight would return ahead of the
        rest.
        """
        filling = asyncio.ensure_future(self._fill(size))
        try:
            await asyncio.shield(filling)
        except asyncio.CancelledError:
            await asyncio.wait({filling}, timeout=ARRIVAL_SECONDS)
            if not filling.cancel():
                filling.exception()  # retrieved, or asyncio would complain
            raise

    async def _fill(self, size: int) -> None:
        """Fill the batch: to `size`, or with all that is left in the queue."""
        full: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        tags = array("Q")
        self._tags.append(tags)

        def arrived(delivery: Delivery) -> None:
            self._batch.append(delivery)
            tags.append(delivery.tag)
            if len(self._batch) == size:
                full.set_result(None)

        consumer = await Consumer.open(self._connection, self._name, size, arrived, self._channel)
        try:
            waited = 0.0
            while not await either(full, self._channel.lost, IDLE_SECONDS):
                before = len(self._batch)
                waited += IDLE_SECONDS
                if not await count_ready(self._connection, self._name):
                    # What was ready may still be on its way, a large body for instance. The broker works through a
                    # channel in order, so the answer to any question comes after it.
                    await self._channel.call(self._channel.raw.basic_qos, prefetch_count=size)
                    if len(self._batch) == before:
                        break
                if waited >= STARVED_SECONDS and not self._batch:
                    raise RqtoolError(
                        f"The broker delivers nothing from {self._name!r}, although tasks are ready",
                        "If another program is the single active consumer of that queue, stop it",
                    )
        finally:
            with suppress(TimeoutError):  # a frozen broker does not answer
                await asyncio.wait_for(consumer.cancel(), CLOSE_SECONDS)
        if self._channel.lost.done():
            raise self._channel.lost.result()

    async def _find_returns_allowed(self) -> int | None:
        """Return after how many returns we must not read a message again; None: the queue does not count returns.

        A quorum queue drops a message that returns too often, unless it has a dead-letter route. We use at most half of
        its limit. Queues that rqtool declares allow 100,000.
        """
        limit = await delivery_limit(self._connection, self._name)
        if limit is not None and limit // 2 == 0:
            raise self._unsafe("drops what is returned" + (" twice" if limit else ""))
        self._has_limit = limit != sys.maxsize
        return None if limit is None else limit // 2

    def _check_returns(self, batch: Sequence[Delivery], allowed: int) -> None:
        # A first delivery can carry the count of the queue that it came from. RabbitMQ 4.3, recognizable by its second
        # count, does not count messages that return in order.
        returns = [
            count(each.headers, _RETURNS) for each in batch if each.redelivered and _ACQUIRED not in each.headers
        ]
        most = max(returns, default=0)
        if most >= allowed:
            raise self._unsafe(f"drops what is returned too often, and some tasks were {most} times")

    def _unsafe(self, why: str) -> RqtoolError:
        name = shlex.quote(self._queue)
        return RqtoolError(
            f"Reading {self._name!r} could lose tasks: that queue {why}",
            f"Put all back with: rqtool dead retry -q {name}; or raise its delivery-limit by a policy",
        )

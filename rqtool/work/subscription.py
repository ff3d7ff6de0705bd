"""A worker's consumers on one connection: of NAME and NAME.returned; and NAME.quarantine, read on demand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from rqtool.amqp.connect import connect
from rqtool.amqp.connection import Connection, resolve
from rqtool.amqp.consumer import Consumer, Delivery, Getter
from rqtool.amqp.declare import count_ready, ensure_queue, ensure_sibling, look
from rqtool.amqp.errors import Lost, NoAnswer, raise_refusal
from rqtool.amqp.new_queues import NEW_SECONDS
from rqtool.amqp.republisher import Republisher
from rqtool.endpoint.urls import Endpoint
from rqtool.errors import AccessRefused
from rqtool.topology import UNREACHED_LIMIT, Destination, most_returns, quarantine, returned, warning
from rqtool.work.options import MOST_PREFETCH, WorkOptions
from rqtool.work.poison import UNTOLD

LOW_DELIVERY_LIMIT = 20
"""RabbitMQ 4's default. Up to 4.2 it counts tasks that are returned without having been begun."""


class Subscription:
    """Consumers on one connection. `lost` resolves (it never raises) when the connection or one of them goes.

    If NAME.returned or NAME.quarantine is missing and this user may not create it, or while NAME.returned does not
    answer, `counts_returns` is false and neither is used.
    """

    def __init__(self, connection: Connection, options: WorkOptions, receive: Callable[[Delivery], None]) -> None:
        self.connection = connection
        self.lost: asyncio.Future[Lost] = asyncio.get_running_loop().create_future()
        self.warnings: list[str] = []
        """Notices for the user about the queues."""
        self._may_count = self._returned_answers = True
        self._has_limit = self._has_low_limit = False
        self.has_single_consumer = False
        """Whether the queue has a single active consumer. Another one becomes active when that one is replaced or takes
        no more, although it may still run tasks.
        """
        self._young_until = 0.0
        self._waits: list[str] = []
        self._options = options
        self._returned, self._quarantine = returned(options.queue).name, quarantine(options.queue).name
        self._receive = receive
        self._consumers: list[Consumer] = []
        self._retired: list[Consumer] = []
        self._switching = asyncio.Lock()
        self._pauses: set[str] = set()
        self.prefetch = min(options.prefetch or options.jobs, options.max_tasks or MOST_PREFETCH)
        """How many tasks the broker hands out at once, from the next `renew` on."""
        self.round_trip = 0.0
        """Seconds, the shortest of those seen."""
        self._getter: Getter | None = None
        connection.lost.add_done_callback(lambda lost: resolve(self.lost, lost.result()))

    @classmethod
    async def open(
        cls,
        endpoint: Endpoint,
        options: WorkOptions,
        runs: str,
        receive: Callable[[Delivery], None],
        republisher: Republisher,
    ) -> Subscription:
        """Connect, make the queues that are missing, consume. Raises RqtoolError, Lost."""
        connection = await connect(endpoint, "work", runs)
        subscription = cls(connection, options, receive)
        try:
            await subscription._declare()
            if subscription._has_limit:
                await republisher.prepare(returned(options.queue))
            await subscription.renew()
        except BaseException as error:
            await connection.close()
            if isinstance(error, Lost):
                raise_refusal(error, f"tasks of queue {options.queue!r}")
            raise
        return subscription

    @property
    def counts_returns(self) -> bool:
        return self._may_count and self._returned_answers

    @property
    def _consumed(self) -> list[str]:
        queues = [self._options.queue, *([self._returned] if self._may_count else [])]
        return queues[::-1] if self._has_limit else queues  # NAME last, so that its deliveries can be moved at once

    @property
    def may_give_back(self) -> bool:
        """Whether tasks may be given back now and then: another worker can take them at once, and they stay far below
        the broker's delivery limit.
        """
        is_forbidden = self._has_low_limit or self.has_single_consumer
        return not is_forbidden and time.monotonic() >= self._young_until

    async def pause(self, reason: str) -> None:
        """Ask for no more deliveries, but keep those in hand."""
        self._pauses.add(reason)
        async with self._switching:
            await self._cancel()

    async def resume(self, reason: str) -> None:
        """Consume again, unless there is another reason not to. Raises Lost."""
        self._pauses.discard(reason)
        await self.renew()

    async def renew(self) -> None:
        """Replace the consumers, unless they are paused. Raises Lost."""
        async with self._switching:
            if self._pauses:
                return
            await self._cancel()
            try:
                for queue in self._consumed:
                    if not self._pauses:
                        await self._consume(queue)
            except Lost as lost:
                resolve(self.lost, lost)  # half of it would be worse than none
                raise

    async def _consume(self, queue: str) -> None:
        """Raises Lost, unless only NAME.returned does not answer: the next `renew` tries again."""
        try:
            consumer = await Consumer.open(self.connection, queue, self.prefetch, self._receive)
        except NoAnswer as lost:
            if queue != self._returned:
                raise
            if self._returned_answers:
                self.warnings.append(f"{lost}: {UNTOLD}")
            self._returned_answers = False
            return
        self._returned_answers |= queue == self._returned
        self._consumers.append(consumer)
        self.round_trip = min(self.round_trip or consumer.round_trip, consumer.round_trip)
        consumer.lost.add_done_callback(partial(self._consumer_lost, consumer))

    async def _cancel(self) -> None:
        consumers, self._consumers = self._consumers, []
        for consumer in consumers:
            await consumer.cancel()
        # Deliveries in hand must be acknowledged on their own channel.
        self._retired = [each for each in (*self._retired, *consumers) if not each.close_if_settled()]

    async def count_ready(self) -> int:
        """How many tasks are ready for these consumers. Raises Lost."""
        return sum([await count_ready(self.connection, queue) for queue in self._consumed])

    async def count_waiting(self) -> int:
        """How many failed tasks wait for the time of their next attempt, at the delays of this worker. Raises Lost."""
        return sum([ready for name in self._waits for ready, _ in [await look(self.connection, name) or (0, 0)]])

    async def count_suspects(self) -> int:
        """How many tasks are in quarantine. Raises Lost."""
        found = await look(self.connection, self._quarantine) if self.counts_returns else None
        return 0 if found is None else found[0]

    async def take_suspect(self) -> Delivery | None:
        """Take the next task out of quarantine; None: there is none. Raises Lost."""
        if self._getter is None:
            channel = await self.connection.channel()
            channel.lost.add_done_callback(lambda lost: resolve(self.lost, lost.result()))
            self._getter = Getter(channel)
        return await self._getter.get(self._quarantine)

    async def _declare(self) -> None:
        queue, kind = self._options.queue, self._options.kind
        found = await ensure_queue(self.connection, queue, kind, accept_loss=self._options.accept_loss)
        if found.made:
            self.warnings.append(f"queue {queue!r} did not exist; made it")
        # A task that comes back must move to NAME.returned at once: each death of a worker before that counts.
        returns = most_returns(found.arguments, self.connection.default_limit)
        self._has_limit = returns is not None and returns < UNREACHED_LIMIT
        limit = found.arguments.get("x-delivery-limit")
        self._has_low_limit = isinstance(limit, int) and 0 <= limit < LOW_DELIVERY_LIMIT
        self.has_single_consumer = found.arguments.get("x-single-active-consumer") is True
        missing = set[str]()

        async def declare(place: Destination) -> bool:
            try:
                return (await ensure_sibling(self.connection, place, kind)).new
            except AccessRefused:
                missing.add(place.name)
                return False

        # At once: over a slow line each takes several round trips.
        are_new = await asyncio.gather(*map(declare, self._options.places))
        # The broker logs an error for each passive declare of a missing queue.
        self._waits = [each.name for each in self._options.places if each.wait is not None and each.name not in missing]
        counted = {self._returned, self._quarantine}
        self._may_count = not missing & counted
        self._has_low_limit |= self._has_limit and not self._may_count
        if line := warning(queue, found.drops):
            self.warnings.append(line)
        if missing:
            without = ["a task that fails ends the worker"] if missing - counted else []
            without += [] if self._may_count else [UNTOLD]
            names = ", ".join(repr(place.name) for place in self._options.places if place.name in missing)
            self.warnings.append(f"this user may not create {names}: {', and '.join(without)}")
        # Don't check whether others have created one: in an alarm, the broker stops reading a connection that has
        # published.
        if found.new or any(are_new):
            self._young_until = time.monotonic() + NEW_SECONDS

    def _consumer_lost(self, consumer: Consumer, lost: asyncio.Future[Lost]) -> None:
        if consumer in self._consumers or consumer.holds_deliveries:  # else it was replaced
            resolve(self.lost, lost.result())

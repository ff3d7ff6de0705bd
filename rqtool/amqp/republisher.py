"""Publishes copies of tasks on a connection of its own, each until the broker has confirmed it.

Of its own, since a broker in alarm stops reading from connections that publish, and the worker's acks would be stuck
with them: https://www.rabbitmq.com/docs/connections#flow-control
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from rqtool.amqp.connect import connect
from rqtool.amqp.connection import Connection
from rqtool.amqp.declare import DeclaredQueue, ensure_queue, ensure_sibling
from rqtool.amqp.errors import Lost, raise_refusal
from rqtool.amqp.new_queues import NEW_SECONDS, is_marked_as_new
from rqtool.amqp.publisher import Publisher
from rqtool.amqp.topology import Destination, QueueType
from rqtool.amqp.window import ANSWER_SECONDS, SLOWEST, Message, Settled
from rqtool.endpoint.urls import Endpoint

_LOOK = 1.0
"""Seconds between two looks whether the broker still answers."""


class NotTaken(Exception):
    """The broker answered that it did not keep the copy; another try may succeed."""


class Republisher:
    """For the places around one `queue`; `kind` is the type that the user asked for, `role` names us to the broker.

    Nothing is opened before the first delivery, nor declared before something goes there. `blocked`: the broker is in
    alarm, and takes nothing.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        queue: str,
        kind: QueueType | None,
        role: str,
        say: Callable[[str], None],
        *,
        accept_loss: bool = False,
    ) -> None:
        self._endpoint = endpoint
        self._queue = queue
        self._kind = kind
        self._accept_loss = accept_loss
        self._role = role
        self._say = say
        self._opening = asyncio.Lock()
        self._connection: Connection | None = None
        self._publisher: Publisher | None = None
        self._declared: set[str] = set()
        self._safe_from: dict[str, float] = {}
        self._under_way: dict[str, asyncio.Future[None]] = {}
        self._flushing = False
        self._heard = 0.0
        self.blocked = False

    async def deliver(self, place: Destination, message: Message) -> None:
        """Publish a copy and return when the broker has confirmed it.

        Raises NotTaken where it refused; Lost where nothing is known of the copy; Unreachable, AccessRefused,
        UnsafeQueue where it could not be sent.
        """
        publisher = await self._ready(place)
        if publisher is not self._publisher:
            raise Lost(0, "the connection was lost")
        try:
            await self._publish(publisher, place, message)
        except NotTaken:
            self._declared.discard(place.name)  # it may have been deleted
            raise

    def publish(self, place: Destination, message: Message) -> asyncio.Future[None] | None:
        """Publish a copy where that can be done at once. Returns what the broker's answer resolves, with the errors of
        `deliver`; None where there is no connection, or the queue is not known.
        """
        if self._publisher is None or place.name not in self._declared or self._wait(place) > 0:
            return None
        return self._publish(self._publisher, place, message)

    def _publish(self, publisher: Publisher, place: Destination, message: Message) -> asyncio.Future[None]:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._under_way[message.token] = answer
        publisher.publish(place.name, message)
        self._flush_soon()
        return answer

    def _wait(self, place: Destination) -> float:
        """Seconds until the queue is old enough."""
        return self._safe_from.get(place.name, 0.0) - time.monotonic() if self._safe_from else 0.0

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def _ready(self, place: Destination) -> Publisher:
        async with self._opening:
            connection, publisher = self._connection, self._publisher
            if connection is None or publisher is None:
                connection, publisher = await self._open()
            if place.name not in self._declared:
                try:
                    new = (await self._declare(connection, place)).new or await is_marked_as_new(
                        connection, self._queue
                    )
                except Lost as lost:
                    raise_refusal(lost, f"queue {place.name!r}")
                self._declared.add(place.name)
                if new:
                    self._safe_from[place.name] = time.monotonic() + NEW_SECONDS
        if (wait := self._wait(place)) > 0:
            await asyncio.sleep(wait)
        return publisher

    def _flush_soon(self) -> None:
        """What is published in one turn of the loop is written at once."""
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._publisher is not None:
            self._publisher.flush()

    async def _open(self) -> tuple[Connection, Publisher]:
        if self._connection is not None:
            await self._connection.close()
        self._declared.clear()
        self.blocked = False
        self._connection = self._publisher = None
        connection = await connect(self._endpoint, self._role)
        connection.on_blocked(partial(self._block_changed, connection))
        self._connection = connection
        self._publisher = publisher = await Publisher.open(connection, "confirm", self._settled)
        publisher.lost.add_done_callback(lambda lost: self._fail_all(publisher, lost.result()))
        self._heard = time.monotonic()
        self._look(publisher)
        return connection, publisher

    async def _declare(self, connection: Connection, place: Destination) -> DeclaredQueue:
        if place.name == self._queue:
            return await ensure_queue(connection, self._queue, self._kind, accept_loss=self._accept_loss)
        return await ensure_sibling(connection, place, self._kind)

    def _look(self, publisher: Publisher) -> None:
        """Wait for answers no longer than a broker takes that is alive."""
        if publisher is not self._publisher:
            return
        if self.blocked or not self._under_way:
            self._heard = time.monotonic()
        if time.monotonic() - self._heard > ANSWER_SECONDS + publisher.window.size / SLOWEST:
            self._fail_all(publisher, Lost(0, "the broker confirms nothing any more"))
        else:
            asyncio.get_running_loop().call_later(_LOOK, self._look, publisher)

    def _fail_all(self, publisher: Publisher, lost: Lost) -> None:
        """Nothing is known of what is under way; the next delivery opens another connection."""
        if publisher is not self._publisher:
            return
        connection, self._connection, self._publisher = self._connection, None, None
        if connection is not None:
            connection.abandon()
        under_way, self._under_way = self._under_way, {}
        for answer in under_way.values():
            if not answer.done():
                answer.set_exception(lost)

    def _settled(self, settled: Settled) -> None:
        self._heard = time.monotonic()
        for message in settled.confirmed:
            self._answer(message, None)
        for message in settled.returned:
            self._answer(message, NotTaken("no queue took it"))
        for message in settled.nacked:
            self._answer(message, NotTaken("the broker refused it (nack): the queue is full, or has lost its majority"))

    def _answer(self, message: Message, refusal: NotTaken | None) -> None:
        answer = self._under_way.pop(message.token, None)
        if answer is None or answer.done():
            return
        if refusal is None:
            answer.set_result(None)
        else:
            answer.set_exception(refusal)

    def _block_changed(self, connection: Connection, reason: str | None) -> None:
        if connection is not self._connection:
            return
        self.blocked = reason is not None
        self._say(
            "the broker takes tasks again" if reason is None else f"the broker is {reason} and takes no tasks; waiting"
        )

"""Publishes copies of tasks on a connection of its own, each until the broker has confirmed it.

Of its own, since a broker in alarm stops reading from connections that publish, and the worker's acks would be stuck
with them: https://www.rabbitmq.com/docs/connections#flow-control
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from rqtool.broker.connection import Connection, Lost, either, refuse
from rqtool.broker.opening import connect
from rqtool.broker.publisher import Publisher
from rqtool.broker.queues import ensure_place, ensure_queue, find_kind
from rqtool.broker.topology import Place, QueueType
from rqtool.broker.window import Message, Settled
from rqtool.endpoint import Endpoint
from rqtool.patience import ANSWER_SECONDS, SLOWEST


class NotTaken(Exception):
    """The broker answered that it did not keep the copy; another try may succeed."""


class Courier:
    """For the places around one `queue`; `kind` is the type that the user asked for, `role` names us to the broker.

    Nothing is opened before the first delivery, nor declared before something goes there. `blocked`: the broker is in
    alarm, and takes nothing.
    """

    def __init__(
        self, endpoint: Endpoint, queue: str, kind: QueueType | None, role: str, say: Callable[[str], None]
    ) -> None:
        self._endpoint = endpoint
        self._queue = queue
        self._kind = kind
        self._role = role
        self._say = say
        self._opening = asyncio.Lock()
        self._connection: Connection | None = None
        self._publisher: Publisher | None = None
        self._declared: set[str] = set()
        self._under_way: dict[str, asyncio.Future[None]] = {}
        self.blocked = False

    async def deliver(self, place: Place, message: Message) -> None:
        """Publish a copy and return when the broker has confirmed it.

        Raises NotTaken where it refused; Lost where nothing is known of the copy; Unreachable, AccessRefused,
        UnsafeQueue where it could not be sent.
        """
        connection, publisher = await self._ready(place)
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._under_way[message.token] = answer
        try:
            publisher.publish(place.name, message)
            publisher.flush()
            await self._confirmed(answer, connection, publisher)
        except NotTaken:
            self._declared.discard(place.name)  # it may have been deleted
            raise
        finally:
            self._under_way.pop(message.token, None)

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def _ready(self, place: Place) -> tuple[Connection, Publisher]:
        async with self._opening:
            connection, publisher = self._connection, self._publisher
            if connection is None or publisher is None or publisher.lost.done():
                connection, publisher = await self._open()
            if place.name not in self._declared:
                try:
                    await self._declare(connection, place)
                except Lost as lost:
                    refuse(lost, f"queue {place.name!r}")
                self._declared.add(place.name)
            return connection, publisher

    async def _open(self) -> tuple[Connection, Publisher]:
        if self._connection is not None:
            await self._connection.close()
        self._declared.clear()
        self.blocked = False
        self._connection = self._publisher = None
        connection = await connect(self._endpoint, self._role)
        connection.on_blocked(partial(self._block_changed, connection))
        self._connection = connection
        self._publisher = await Publisher.open(connection, "confirm", self._settled)
        return connection, self._publisher

    async def _declare(self, connection: Connection, place: Place) -> None:
        if place.name == self._queue:
            await ensure_queue(connection, self._queue, self._kind)
        else:
            kind = None if place.wait is not None else await find_kind(connection, self._queue, self._kind)
            await ensure_place(connection, place, kind)

    async def _confirmed(self, answer: asyncio.Future[None], connection: Connection, publisher: Publisher) -> None:
        while not answer.done():
            limit = ANSWER_SECONDS + publisher.window.size / SLOWEST
            if not await either(answer, publisher.lost, limit) and not self.blocked:
                if self._publisher is publisher:
                    self._connection = self._publisher = None  # the next one opens another
                await connection.close()
                raise Lost(0, "the broker confirms nothing any more")
            if not answer.done() and publisher.lost.done():
                raise publisher.lost.result()
        answer.result()

    def _settled(self, settled: Settled) -> None:
        for message in settled.confirmed:
            self._answer(message, None)
        for message in settled.returned:
            self._answer(message, NotTaken("no queue took it"))
        for message in settled.nacked:
            self._answer(message, NotTaken("the broker refused it (nack): the queue is full, or has lost its majority"))

    def _answer(self, message: Message, refusal: NotTaken | None) -> None:
        answer = self._under_way.get(message.token)
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

"""Publishes copies of tasks, each until the broker has confirmed it, on a connection of its own.

A broker in alarm stops reading from connections that publish. On a shared one the worker's acks would be stuck too:
https://www.rabbitmq.com/docs/connections#flow-control
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from rqtool.amqp.connect import connect
from rqtool.amqp.connection import Connection
from rqtool.amqp.declare import ensure_queue, ensure_sibling
from rqtool.amqp.errors import Lost, raise_refusal
from rqtool.amqp.new_queues import NEW_SECONDS, STILL_NEW, is_marked_as_new
from rqtool.amqp.publisher import Publisher, block_message
from rqtool.amqp.window import Message, Settled
from rqtool.endpoint.urls import Endpoint
from rqtool.errors import RqtoolError
from rqtool.topology import Destination, QueueType, warning


class NotTaken(Exception):
    """The broker did not keep the copy; another try may succeed."""


class Republisher:
    """Serves the queues beside one `queue`: `kind` is the type that the user asked for, `role` our name in the broker's
    list of connections. It connects, and declares a place, only when a copy goes there or `prepare` asks for it.
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
        self._safe_from: dict[str, float] = {}
        """From when on each declared queue survives a crash of the broker, on the monotonic clock."""
        self._answers: dict[str, asyncio.Future[None]] = {}
        self._flushing = False

    @property
    def blocked(self) -> bool:
        """The broker is in alarm and takes nothing."""
        return self._publisher is not None and self._publisher.blocked

    async def deliver(self, place: Destination, message: Message) -> None:
        """Publish a copy and return when the broker has confirmed it. Raises NotTaken if the broker refused it; Lost if
        the fate of the copy is unknown; Unreachable, AccessRefused, UnsafeQueue if it could not be sent.
        """
        while self._publisher is None or self._safe_from.get(place.name, math.inf) > time.monotonic():
            seconds = await self._open_for(place)
            publisher = self._publisher
            await asyncio.sleep(seconds)
            if publisher is None or publisher is not self._publisher:
                raise Lost(0, "the connection was lost")  # by now another worker may have the original
        loop = asyncio.get_running_loop()
        answer = self._answers[message.token] = loop.create_future()
        self._publisher.publish(place.name, message)
        if not self._flushing:  # one write for all that is published in a turn of the loop
            self._flushing = True
            loop.call_soon(self._flush)
        try:
            await answer
        except NotTaken:
            self._safe_from.pop(place.name, None)  # it may have been deleted
            raise

    async def prepare(self, place: Destination) -> None:
        """Connect and declare the place now. `deliver` tries again what fails here."""
        with suppress(Lost, RqtoolError):
            await self._open_for(place)

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    def _flush(self) -> None:
        self._flushing = False
        if self._publisher is not None:
            self._publisher.flush()

    async def _open_for(self, place: Destination) -> float:
        """Connect and declare the place. Returns the seconds until it is old enough."""
        async with self._opening:
            connection = self._connection
            if connection is None or self._publisher is None:
                connection = await self._open()
            if place.name not in self._safe_from:
                try:
                    new = await self._declare(connection, place)
                except Lost as lost:
                    raise_refusal(lost, f"queue {place.name!r}")
                if new and place.name == self._queue and sys.stderr.isatty():
                    self._say(STILL_NEW)
                self._safe_from[place.name] = time.monotonic() + NEW_SECONDS if new else 0.0
            return max(0.0, self._safe_from[place.name] - time.monotonic())

    async def _open(self) -> Connection:
        await self.close()
        # A queue that was created on the lost connection is as new as before, even without a mark.
        self._safe_from = {name: at for name, at in self._safe_from.items() if at > time.monotonic()}
        self._connection = self._publisher = None
        self._connection = connection = await connect(self._endpoint, self._role)
        connection.on_blocked(lambda reason: self._say(block_message(reason)))
        self._publisher = publisher = await Publisher.open(connection, "confirm", self._settled)
        publisher.lost.add_done_callback(lambda lost: self._fail_all(publisher, lost.result()))
        return connection

    async def _declare(self, connection: Connection, place: Destination) -> bool:
        """Return whether the place, or the queue, is too new to be safe."""
        if place.name == self._queue:
            found = await ensure_queue(connection, self._queue, self._kind, accept_loss=self._accept_loss)
            if found.drops:
                self._say(warning(self._queue, found.drops))
        else:
            found = await ensure_sibling(connection, place, self._kind)
        return found.new or await is_marked_as_new(connection, self._queue)

    def _fail_all(self, publisher: Publisher, lost: Lost) -> None:
        """Fail every delivery that has no answer yet; the next one opens another connection."""
        if publisher is not self._publisher:
            return
        connection, self._connection, self._publisher = self._connection, None, None
        if connection is not None:
            connection.abandon()
        answers, self._answers = self._answers, {}
        for answer in answers.values():
            if not answer.done():
                answer.set_exception(lost)

    def _settled(self, settled: Settled) -> None:
        for messages, refusal in (
            (settled.confirmed, ""),
            (settled.returned, "no queue took it"),
            (settled.nacked, "the broker refused it (nack): the queue is full, or has lost its majority"),
        ):
            for message in messages:
                answer = self._answers.pop(message.token, None)
                if answer is None or answer.done():
                    continue
                if refusal:
                    answer.set_exception(NotTaken(refusal))
                else:
                    answer.set_result(None)

"""Taking messages one by one, when they are wanted."""

from __future__ import annotations

import asyncio
from typing import Any

import pika
import pika.exceptions

from rqtool.amqp.connection import Channel, Connection, Lost, answered
from rqtool.amqp.consumer import Delivery
from rqtool.amqp.errors import words


class Getter:
    """Gets on a channel of its own, which is opened with the first one. `lost` resolves when that goes."""

    def __init__(self, connection: Connection) -> None:
        self.lost: asyncio.Future[Lost] = asyncio.get_running_loop().create_future()
        self._connection = connection
        self._channel: Channel | None = None
        self._getting = asyncio.Lock()
        self._got: asyncio.Future[Delivery | None] | None = None

    async def get(self, queue: str) -> Delivery | None:
        """Take the next message, None where nothing is ready. Raises Lost."""
        async with self._getting:  # a channel has one basic.get under way
            channel = self._channel or await self._open()
            self._got = asyncio.get_running_loop().create_future()

            def got(_: object, method: Any, properties: pika.BasicProperties, body: bytes) -> None:
                self._answer(Delivery(channel, queue, method.delivery_tag, method.redelivered, properties, body))

            if channel.lost.done():
                raise channel.lost.result()
            try:
                channel.raw.basic_get(queue, got)
            except (pika.exceptions.AMQPError, pika.exceptions.DuplicateGetOkCallback) as error:
                # The latter: the get before this one could not be written either.
                raise Lost(0, words(error)) from None
            try:
                return await answered(self._got, channel.lost)
            except Lost:
                channel.close()  # what came late would be held, and by nobody
                raise

    async def _open(self) -> Channel:
        self._channel = channel = await self._connection.channel()
        channel.lost.add_done_callback(self._went)
        channel.raw.add_callback(lambda _: self._answer(None), [pika.spec.Basic.GetEmpty], one_shot=False)
        return channel

    def _answer(self, delivery: Delivery | None) -> None:
        if self._got is not None and not self._got.done():
            self._got.set_result(delivery)

    def _went(self, lost: asyncio.Future[Lost]) -> None:
        if not self.lost.done():
            self.lost.set_result(lost.result())

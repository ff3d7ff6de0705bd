"""Deliveries, each bound to the channel that it came on and settled once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pika
import pika.exceptions

from rqtool.broker.connection import Channel, Connection, Lost
from rqtool.broker.messages import APP_ID


class Delivery:
    """One message in our hands. Settling it after its channel went does nothing: the broker has it again."""

    def __init__(
        self, channel: Channel, tag: int, redelivered: bool, properties: pika.BasicProperties, body: bytes
    ) -> None:
        self._channel = channel
        self._tag = tag
        self._open = True
        self.redelivered = redelivered
        self.body = body
        self.message_id: str | None = properties.message_id
        self.headers: dict[str, Any] = properties.headers or {}
        self._own = properties.app_id == APP_ID

    @property
    def key(self) -> tuple[str, bytes] | None:
        """Id and body together: other programs' ids need not be unique."""
        return (self.message_id, hashlib.blake2b(self.body, digest_size=16).digest()) if self.message_id else None

    @property
    def may_repeat(self) -> bool:
        """Flagged by the broker, or with an id of rqtool's own: a broker that crashed forgets the flag."""
        return self.redelivered or self._own

    def ack(self) -> bool:
        """Tell the broker that the work is done. Returns whether it could be told."""
        return self._settle(self._channel.raw.basic_ack)

    def requeue(self) -> bool:
        """Give it back. `nack`, since RabbitMQ 4.3 counts a `reject` toward a quorum queue's delivery limit."""
        return self._settle(self._channel.raw.basic_nack)

    def _settle(self, method: Callable[[int], None]) -> bool:
        if not self._open or self._channel.lost.done():
            return False
        self._open = False
        try:
            method(self._tag)
        except pika.exceptions.AMQPError:
            return False
        return True


class Consumer:
    """Consumes one queue with manual acks on a channel of its own.

    `lost` resolves when the channel goes, and also when the broker cancels the consumer (its queue was deleted or
    moved; RabbitMQ 4.3: a delivery was not acked in time): https://www.rabbitmq.com/docs/consumer-cancel
    """

    def __init__(self, channel: Channel) -> None:
        self.lost = channel.lost
        self._channel = channel
        self._tag = ""

    @classmethod
    async def open(
        cls, connection: Connection, queue: str, prefetch: int, on_delivery: Callable[[Delivery], None]
    ) -> Consumer:
        """Start consuming. Raises Lost."""
        channel = await connection.channel()
        consumer = cls(channel)

        def delivered(_: object, method: Any, properties: pika.BasicProperties, body: bytes) -> None:
            on_delivery(Delivery(channel, method.delivery_tag, method.redelivered, properties, body))

        def cancelled(_: object) -> None:
            if not channel.lost.done():
                channel.lost.set_result(Lost(0, "the broker cancelled the consumer: the queue was deleted or moved"))

        channel.raw.add_on_cancel_callback(cancelled)
        await channel.call(channel.raw.basic_qos, prefetch_count=prefetch)
        answer = await channel.call(
            channel.raw.basic_consume, queue=queue, on_message_callback=delivered, auto_ack=False
        )
        consumer._tag = answer.method.consumer_tag
        return consumer

    async def cancel(self) -> None:
        """Ask for no more deliveries; those in our hands stay ours."""
        try:
            await self._channel.call(self._channel.raw.basic_cancel, consumer_tag=self._tag)
        except Lost:
            return

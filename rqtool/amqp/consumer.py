"""Takes messages, by consuming or one at a time. Each delivery belongs to its channel and is settled once."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import pika

from rqtool.amqp.connection import Channel, Connection, ask, resolve
from rqtool.amqp.errors import Lost, NoAnswer
from rqtool.amqp.headers import COPY, text
from rqtool.amqp.message import APP_ID, copied, copied_with_token
from rqtool.amqp.window import Message
from rqtool.amqp.wire import RawDelivery, cancel_consumer

_SHORT = 64
"""Bodies of up to so many bytes are kept as they are, and not hashed."""


class Delivery:
    """An unacknowledged message. Settling it after its channel was lost does nothing: the broker has it again."""

    def __init__(self, channel: Channel, queue: str, raw: RawDelivery, properties: pika.BasicProperties) -> None:
        self._channel = channel
        self._open = True
        self._encoded = raw.properties
        self.queue = queue
        self.tag = raw.tag
        self.redelivered = raw.redelivered
        self.body = raw.body
        self.properties = properties
        self.message_id: str | None = properties.message_id
        self.headers: dict[str, Any] = properties.headers or {}
        self.copy_token = text(self.headers, COPY)
        channel.acks.delivered(raw.tag)

    @cached_property
    def key(self) -> tuple[str, str, bytes] | None:
        """What identifies the task: id, copy and body together, since other programs' ids need not be unique, and a
        retry has the id of the first attempt. None if it has neither id nor copy token.
        """
        if not (self.message_id or self.copy_token):
            return None
        body = self.body if len(self.body) <= _SHORT else hashlib.blake2b(self.body, digest_size=16).digest()
        return (self.message_id or "", self.copy_token, body)

    @property
    def may_repeat(self) -> bool:
        """Flagged by the broker, or with an id of rqtool's own: a broker that crashed forgets the flag."""
        return self.redelivered or self.properties.app_id == APP_ID or bool(self.copy_token)

    @property
    def live(self) -> bool:
        """Whether it can still be settled: its channel is open, and it was not settled before."""
        return self._open and not self._channel.lost.done()

    def copied(self, headers: Mapping[str, Any]) -> Message:
        """Return a copy of the message, with other headers, to be published again."""
        if not headers and self._encoded and (copy := copied_with_token(self._encoded, self.body)) is not None:
            return copy
        return copied(self.properties, self.body, headers, self._channel.raw.connection.params.frame_max)

    def ack(self) -> bool:
        """Acknowledge it. Returns whether it was live."""
        if not self.live:
            return False
        self._open = False
        self._channel.ack(self.tag)
        return True

    def requeue(self) -> None:
        """Give it back, if it is live."""
        if self.live:
            self._open = False
            self._channel.requeue(self.tag)


def _from_pika(channel: Channel, queue: str, method: Any, properties: pika.BasicProperties, body: bytes) -> Delivery:
    raw = RawDelivery(channel.raw.channel_number, method.delivery_tag, method.redelivered, b"", body)
    return Delivery(channel, queue, raw, properties)


_CANCELLED = "the broker cancelled the consumer: its queue was deleted or moved, or a task was not acknowledged in time"


class Consumer:
    """Consumes one queue with manual acks on a channel of its own.

    `lost` resolves when the channel goes, and also when the broker cancels the consumer (its queue was deleted or
    moved; RabbitMQ 4.3: a delivery was not acked in time): https://www.rabbitmq.com/docs/consumer-cancel
    """

    def __init__(self, channel: Channel, tag: str, round_trip: float) -> None:
        self.lost = channel.lost
        self._channel = channel
        self._tag = tag
        self.round_trip = round_trip
        """Seconds that the broker took to answer a request that needs no work."""

    @classmethod
    async def open(
        cls,
        connection: Connection,
        queue: str,
        prefetch: int,
        on_delivery: Callable[[Delivery], None],
        channel: Channel | None = None,
    ) -> Consumer:
        """Start consuming; on `channel`, if given, whose other consumers must be cancelled. Raises Lost, NoAnswer."""
        channel = await connection.channel() if channel is None else channel

        def delivered_by_pika(_: object, method: Any, properties: pika.BasicProperties, body: bytes) -> None:
            on_delivery(_from_pika(channel, queue, method, properties, body))

        def delivered(raw: RawDelivery) -> None:
            properties = pika.BasicProperties()  # type: ignore[no-untyped-call]
            properties.decode(raw.properties)  # type: ignore[no-untyped-call]
            on_delivery(Delivery(channel, queue, raw, properties))

        channel.raw.add_on_cancel_callback(lambda _: resolve(channel.lost, Lost(0, _CANCELLED)))
        asked = time.monotonic()
        await channel.call(channel.raw.basic_qos, prefetch_count=prefetch)
        round_trip = time.monotonic() - asked
        try:
            answer = await channel.call(
                channel.raw.basic_consume, queue=queue, on_message_callback=delivered_by_pika, auto_ack=False
            )
        except NoAnswer:  # a quorum queue without a leader; the broker may still answer for other queues
            channel.close()
            raise _unanswered(queue) from None
        channel.on_delivery(delivered)
        return cls(channel, answer.method.consumer_tag, round_trip)

    async def cancel(self) -> None:
        """Stop consuming. Deliveries stay ours, also those that arrive until the broker confirms this."""
        try:
            await self._channel.call(partial(cancel_consumer, self._channel.raw), consumer_tag=self._tag)
        except Lost:
            return
        self._channel.on_delivery(None)

    @property
    def holds_deliveries(self) -> bool:
        """Whether some of its deliveries are unsettled."""
        return self._channel.acks.in_hand > 0

    def close_if_settled(self) -> bool:
        """Close the channel unless some of its deliveries are unsettled: closing would return them to the queue.
        Returns whether it is closed.
        """
        if self._channel.acks.in_hand and not self._channel.lost.done():
            return False
        self._channel.close()
        return True


def _unanswered(queue: str) -> NoAnswer:
    return NoAnswer(f"the broker does not answer for queue {queue!r}")


class Getter:
    """Takes single messages (basic.get) on a channel of its own, one at a time."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._take: Callable[[Delivery | None], None] = lambda _: None
        channel.raw.add_callback(lambda _: self._take(None), [pika.spec.Basic.GetEmpty], one_shot=False)

    async def get(self, queue: str) -> Delivery | None:
        """Take the next message, None if no message is ready. Raises Lost."""
        channel = self._channel

        def send(take: Callable[[Delivery | None], None]) -> None:
            self._take = take
            channel.raw.basic_get(queue, lambda _, *got: take(_from_pika(channel, queue, *got)))

        try:
            delivery: Delivery | None = await ask(send, channel.lost)
            return delivery
        except NoAnswer:
            channel.close()  # a late answer would stay unacknowledged
            raise _unanswered(queue) from None

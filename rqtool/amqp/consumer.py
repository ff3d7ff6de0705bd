"""Deliveries, each bound to the channel that it came on and settled once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import pika
import pika.exceptions

from rqtool.amqp.connection import Channel, Connection, Lost
from rqtool.amqp.headers import COPY, text
from rqtool.amqp.message import APP_ID, copied, copied_with_token
from rqtool.amqp.reading import Arrived
from rqtool.amqp.window import Message
from rqtool.amqp.wire import cancel

_SHORT = 64
"""Bytes of a body that are not worth a hash."""


class Delivery:
    """One message in our hands. Settling it after its channel went does nothing: the broker has it again."""

    def __init__(
        self,
        channel: Channel,
        queue: str,
        tag: int,
        redelivered: bool,
        properties: pika.BasicProperties,
        body: bytes,
        encoded: bytes = b"",
    ) -> None:
        self._channel = channel
        self.queue = queue
        self._tag = tag
        self._open = True
        self.redelivered = redelivered
        self.body = body
        self.message_id: str | None = properties.message_id
        self.headers: dict[str, Any] = properties.headers or {}
        self.copy_token = text(self.headers, COPY)
        self.properties = properties
        self._encoded = encoded
        channel.acks.delivered(tag)

    @property
    def tag(self) -> int:
        """Its number on its channel."""
        return self._tag

    @cached_property
    def key(self) -> tuple[str, str, bytes] | None:
        """Id, copy and body together: other programs' ids need not be unique, and a retry bears the id of the first
        attempt.
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
        """Whether it can still be settled: its channel stands, and nobody has settled it."""
        return self._open and not self._channel.lost.done()

    def copied(self, headers: Mapping[str, Any]) -> Message:
        """Return a copy of the message, with other headers, to be published again."""
        if not headers and self._encoded and (copy := copied_with_token(self._encoded, self.body)) is not None:
            return copy
        return copied(self.properties, self.body, headers, self._channel.raw.connection.params.frame_max)

    def ack(self) -> bool:
        """Tell the broker that the work is done. Returns whether it could be told."""
        if not self.live:
            return False
        self._open = False
        self._channel.ack(self._tag)
        return True

    def requeue(self) -> bool:
        """Give it back. `nack`, since RabbitMQ 4.3 counts a `reject` toward a quorum queue's delivery limit."""
        return self._nack(multiple=False)

    def requeue_up_to_here(self) -> bool:
        """Give it back with everything unsettled that came before it on its channel, at once and in order."""
        return self._nack(multiple=True)

    def _nack(self, *, multiple: bool) -> bool:
        if not self.live:
            return False
        self._open = False
        self._channel.flush()  # "multiple" must find nothing unsettled that was acknowledged
        self._channel.acks.settled(self._tag, multiple=multiple)
        try:
            self._channel.raw.basic_nack(self._tag, multiple=multiple)
        except pika.exceptions.AMQPError:
            return False
        return True


_CANCELLED = "the broker cancelled the consumer: its queue was deleted or moved, or a task was not acknowledged in time"


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
        cls,
        connection: Connection,
        queue: str,
        prefetch: int,
        on_delivery: Callable[[Delivery], None],
        channel: Channel | None = None,
    ) -> Consumer:
        """Start consuming; on `channel`, whose other consumers must be cancelled, where one is given. Raises Lost."""
        channel = await connection.channel() if channel is None else channel
        consumer = cls(channel)

        def delivered(_: object, method: Any, properties: pika.BasicProperties, body: bytes) -> None:
            on_delivery(Delivery(channel, queue, method.delivery_tag, method.redelivered, properties, body))

        def cancelled(_: object) -> None:
            if not channel.lost.done():
                channel.lost.set_result(Lost(0, _CANCELLED))

        def arrived(delivery: Arrived) -> None:
            properties = pika.BasicProperties()  # type: ignore[no-untyped-call]
            properties.decode(delivery.properties)  # type: ignore[no-untyped-call]
            on_delivery(
                Delivery(
                    channel, queue, delivery.tag, delivery.redelivered, properties, delivery.body, delivery.properties
                )
            )

        channel.raw.add_on_cancel_callback(cancelled)
        await channel.call(channel.raw.basic_qos, prefetch_count=prefetch)
        answer = await channel.call(
            channel.raw.basic_consume, queue=queue, on_message_callback=delivered, auto_ack=False
        )
        consumer._tag = answer.method.consumer_tag
        channel.on_delivery(arrived)
        return consumer

    async def cancel(self) -> None:
        """Ask for no more deliveries; those in our hands stay ours, and what still comes until the broker agrees."""
        try:
            await self._channel.call(partial(cancel, self._channel.raw), consumer_tag=self._tag)
        except Lost:
            return
        self._channel.on_delivery(None)

    @property
    def holds_deliveries(self) -> bool:
        """Whether something that came here is still to be settled."""
        return self._channel.acks.in_hand > 0

    def close_if_settled(self) -> bool:
        """Close the channel if nothing that came on it is in our hands: the broker then delivers again what it believes
        to be there. Returns whether it is closed.
        """
        if self._channel.acks.in_hand and not self._channel.lost.done():
            return False
        self._channel.close()
        return True

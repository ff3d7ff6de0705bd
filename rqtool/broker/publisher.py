"""Publishing over one channel with one of three guarantees; the broker's word on each message goes to `on_settled`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

import pika
import pika.exceptions

from rqtool.broker.connection import Channel, Connection
from rqtool.broker.messages import token
from rqtool.broker.window import Message, Settled, Window

Guarantee = Literal["confirm", "tx", "none"]

WINDOW_MESSAGES = 10_000
"""A broker under load confirms in bursts, some tenths of a second late: a window of 2,000 sent 11,000 short tasks a
second to RabbitMQ 3.10, one of 10,000 sent 18,000, a larger one no more."""
WINDOW_BYTES = 16 * 1024 * 1024
BATCH_MESSAGES = 1_000
"""Publishes per transaction: RabbitMQ 4.3 closes a channel that has 10,000 of them uncommitted."""


class Publisher:
    """Publishes to queues through the default exchange, always mandatory.

    confirm  every message is settled by the broker's own word for it (https://www.rabbitmq.com/docs/confirms)
    tx       every batch is settled by its commit
    none     nothing is promised: a batch counts as settled when the broker has read it, which is what bounds memory

    `publish` never waits; look at `has_room` first, and `flush` when there is nothing more to publish for now.
    """

    def __init__(self, channel: Channel, guarantee: Guarantee, on_settled: Callable[[Settled], None]) -> None:
        self.lost = channel.lost
        self._raw = channel.raw
        self._guarantee = guarantee
        self._on_settled = on_settled
        self._flushing = False
        self.window = Window(WINDOW_MESSAGES if guarantee == "confirm" else BATCH_MESSAGES, WINDOW_BYTES)

    @classmethod
    async def open(
        cls, connection: Connection, guarantee: Guarantee, on_settled: Callable[[Settled], None]
    ) -> Publisher:
        """Open a channel of its own. Raises Lost."""
        channel = await connection.channel()
        publisher = cls(channel, guarantee, on_settled)
        channel.raw.add_on_return_callback(publisher._returned)
        if guarantee == "confirm":
            await channel.call(channel.raw.confirm_delivery, ack_nack_callback=publisher._answered)
        elif guarantee == "tx":
            await channel.call(channel.raw.tx_select)
        return publisher

    @property
    def has_room(self) -> bool:
        return not (self._flushing or self.window.full or self.lost.done())

    def publish(self, queue: str, message: Message) -> None:
        """Hand a message to the connection. Where that is gone, the message stays in the window as unknown."""
        # Only a lost connection or channel is swallowed (`lost` says the rest): whatever else was not written must not
        # be counted, or every later confirm would be another message's.
        with suppress(pika.exceptions.AMQPConnectionError, pika.exceptions.AMQPChannelError):
            self._raw.basic_publish("", queue, message.body, message.properties, mandatory=True)
        self.window.add(message)

    def flush(self) -> None:
        """End the batch, where there are batches: commit it, or have the broker answer behind it."""
        if self._guarantee == "confirm" or self._flushing or not self.window or self.lost.done():
            return
        self._flushing = True
        if self._guarantee == "tx":
            self._raw.tx_commit(callback=self._flushed)
        else:
            # Any question will do: a channel is worked off in order.
            self._raw.basic_qos(callback=self._flushed)

    def _flushed(self, _: object) -> None:
        self._flushing = False
        self._on_settled(self.window.ack_all())

    def _answered(self, frame: Any) -> None:
        method = frame.method
        settle = self.window.ack if isinstance(method, pika.spec.Basic.Ack) else self.window.nack
        self._on_settled(settle(method.delivery_tag, multiple=method.multiple))

    def _returned(self, _: object, __: object, properties: pika.BasicProperties, ___: bytes) -> None:
        self.window.mark_returned(token(properties))

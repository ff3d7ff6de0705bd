"""Publishing over one channel with one of three guarantees; the broker's word on each message goes to `on_settled`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pika

from rqtool.amqp.connection import Channel, Connection
from rqtool.amqp.message import token
from rqtool.amqp.window import Message, Settled, Window
from rqtool.amqp.wire import PublishEncoder

Guarantee = Literal["confirm", "tx", "none"]

WINDOW_MESSAGES = 10_000
"""A broker under load confirms in bursts, some tenths of a second late: a window of 2,000 sent 11,000 short tasks a
second to RabbitMQ 3.10, one of 10,000 sent 18,000, a larger one no more."""
WINDOW_BYTES = 16 * 1024 * 1024
WRITE_BYTES = 64 * 1024
BATCH_MESSAGES = 1_000
"""PublishEncoder per transaction: RabbitMQ 4.3 closes a channel that has 10,000 of them uncommitted."""


class Publisher:
    """PublishEncoder to queues through the default exchange, always mandatory.

    confirm  every message is settled by the broker's own word for it (https://www.rabbitmq.com/docs/confirms)
    tx       every batch is settled by its commit
    none     nothing is promised: a batch counts as settled when the broker has read it, which is what bounds memory

    `publish` never waits, and writes in pieces: look at `has_room` first, and `flush` when there is nothing more to
    publish for now.
    """

    def __init__(self, channel: Channel, guarantee: Guarantee, on_settled: Callable[[Settled], None]) -> None:
        self.lost = channel.lost
        self._channel = channel
        self._publishes: dict[str, PublishEncoder] = {}
        self._unwritten: list[bytes] = []
        self._unwritten_size = 0
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
        publishes = self._publishes.get(queue) or self._publishes_to(queue)
        self._unwritten_size += publishes.encode(message, self._unwritten)
        self.window.add(message)
        if self._unwritten_size >= WRITE_BYTES:
            self._write()

    def flush(self) -> None:
        """Write what was published, and end the batch, where there are batches: commit it, or have the broker answer
        behind it.
        """
        self._write()
        if self._guarantee == "confirm" or self._flushing or not self.window or self.lost.done():
            return
        self._flushing = True
        if self._guarantee == "tx":
            self._channel.raw.tx_commit(callback=self._flushed)
        else:
            # Any question will do: a channel is worked off in order.
            self._channel.raw.basic_qos(callback=self._flushed)

    def close(self) -> None:
        """Close its channel."""
        self._channel.close()

    def _publishes_to(self, queue: str) -> PublishEncoder:
        raw = self._channel.raw
        publishes = self._publishes[queue] = PublishEncoder(queue, raw.channel_number, raw.connection.params.frame_max)
        return publishes

    def _write(self) -> None:
        if self._unwritten:
            self._channel.write(b"".join(self._unwritten))
            self._unwritten.clear()
            self._unwritten_size = 0

    def _flushed(self, _: object) -> None:
        self._flushing = False
        self._on_settled(self.window.ack_all())

    def _answered(self, frame: Any) -> None:
        method = frame.method
        settle = self.window.ack if isinstance(method, pika.spec.Basic.Ack) else self.window.nack
        self._on_settled(settle(method.delivery_tag, multiple=method.multiple))

    def _returned(self, _: object, __: object, properties: pika.BasicProperties, ___: bytes) -> None:
        self.window.mark_returned(token(properties))

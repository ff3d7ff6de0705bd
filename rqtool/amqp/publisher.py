"""Publishing over one channel with one of three guarantees; `on_settled` gets the broker's answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Literal

import pika

from rqtool.amqp.connection import Channel, Connection, resolve
from rqtool.amqp.errors import NoAnswer
from rqtool.amqp.message import token
from rqtool.amqp.window import Message, Settled, Window
from rqtool.amqp.wire import PublishEncoder

Guarantee = Literal["confirm", "tx", "none"]

WINDOW_MESSAGES = 10_000
"""A broker under load confirms in bursts, some tenths of a second late: a window of 2,000 sent 11,000 short tasks a
second to RabbitMQ 3.10, one of 10,000 sent 18,000, and a larger one was no faster."""
WINDOW_BYTES = 16 * 1024 * 1024
WRITE_BYTES = 64 * 1024
BATCH_MESSAGES = 1_000
"""Publishes per transaction: RabbitMQ 4.3 closes a channel that has 10,000 of them uncommitted."""
MOST_ENCODERS = 1_000
_LOOK_SECONDS = 1.0
"""Between two checks that the broker still answers."""


def block_message(reason: str | None) -> str:
    """What to tell the user: the broker stopped reading from us for this reason, or reads again (None)."""
    return "the broker takes tasks again" if reason is None else f"the broker is {reason} and takes no tasks; waiting"


class Publisher:
    """Publishes to queues through the default exchange, or through another one, always mandatory.

    confirm  the broker settles each message (https://www.rabbitmq.com/docs/confirms)
    tx       a commit settles a batch
    none     nothing is promised: a batch counts as settled when the broker has read it, which bounds memory

    `publish` never waits, and writes in pieces: look at `has_room` first, and `flush` when there is nothing more to
    publish for now. `lost` resolves when the channel closes, and when the broker leaves messages unanswered for longer
    than the window allows. A peer that is frozen, and a quorum queue that had no leader when we published (RabbitMQ
    3.10 after a crash), never answer; on a new channel the broker does.
    """

    def __init__(self, channel: Channel, guarantee: Guarantee, on_settled: Callable[[Settled], None]) -> None:
        self.window = Window(WINDOW_MESSAGES if guarantee == "confirm" else BATCH_MESSAGES, WINDOW_BYTES)
        self.lost = channel.lost
        self.blocked = False
        """The broker is in alarm and reads nothing from this connection."""
        self._channel = channel
        self._guarantee = guarantee
        self._on_settled = on_settled
        self._encoders: dict[tuple[str, str], PublishEncoder] = {}
        self._unwritten: list[bytes] = []
        self._unwritten_size = 0
        self._flushing = False
        self._heard = time.monotonic()
        self._look()

    @classmethod
    async def open(
        cls, connection: Connection, guarantee: Guarantee, on_settled: Callable[[Settled], None]
    ) -> Publisher:
        """Open a channel of its own. Raises Lost."""
        channel = await connection.channel()
        publisher = cls(channel, guarantee, on_settled)
        connection.on_blocked(publisher._block_changed)
        channel.raw.add_on_return_callback(publisher._returned)
        if guarantee == "confirm":
            await channel.call(channel.raw.confirm_delivery, ack_nack_callback=publisher._answered)
        elif guarantee == "tx":
            await channel.call(channel.raw.tx_select)
        return publisher

    @property
    def has_room(self) -> bool:
        return not (self._flushing or self.blocked or self.window.full or self.lost.done())

    def publish(self, key: str, message: Message, exchange: str = "") -> None:
        """Publish a message; `key`: without an exchange the queue. Once the channel is lost it stays in the window,
        unanswered.
        """
        encoder = self._encoders.get((exchange, key))
        if encoder is None:
            if len(self._encoders) >= MOST_ENCODERS:  # with --at, the key changes every second
                self._encoders.clear()
            channel, longest = self._channel.raw.channel_number, self._channel.raw.connection.params.frame_max
            encoder = self._encoders[exchange, key] = PublishEncoder(key, channel, longest, exchange)
        self._unwritten_size += encoder.encode(message, self._unwritten)
        if not self.window:
            self._heard = time.monotonic()
        self.window.add(message)
        if self._unwritten_size >= WRITE_BYTES:
            self._write()

    def flush(self) -> None:
        """Write the published messages. Without confirms, also ask the broker to answer for all of them, unless an
        earlier answer is still to come.
        """
        self._write()
        if self._guarantee == "confirm" or self._flushing or not self.window or self.lost.done():
            return
        self._flushing = True
        # For "none" any request will do: the broker processes a channel in order.
        ask = self._channel.raw.tx_commit if self._guarantee == "tx" else self._channel.raw.basic_qos
        ask(callback=self._flushed)

    def close(self) -> None:
        self._channel.close()

    def _write(self) -> None:
        if self._unwritten:
            self._channel.write(b"".join(self._unwritten))
            self._unwritten.clear()
            self._unwritten_size = 0

    def _flushed(self, _: object) -> None:
        self._flushing = False
        self._settle(self.window.ack_all())

    def _answered(self, frame: Any) -> None:
        method = frame.method
        settle = self.window.ack if isinstance(method, pika.spec.Basic.Ack) else self.window.nack
        self._settle(settle(method.delivery_tag, multiple=method.multiple))

    def _returned(self, _: object, __: object, properties: pika.BasicProperties, ___: bytes) -> None:
        self.window.mark_returned(token(properties))

    def _settle(self, settled: Settled) -> None:
        self._heard = time.monotonic()
        self._on_settled(settled)

    def _block_changed(self, reason: str | None) -> None:
        self.blocked = reason is not None
        self._heard = time.monotonic()

    def _look(self) -> None:
        """End a channel that has been silent for too long."""
        if self.blocked:
            self._heard = time.monotonic()
        if self.window and time.monotonic() - self._heard > self.window.answer_seconds:
            resolve(self.lost, NoAnswer("the broker confirms nothing any more"))
        if not self.lost.done():
            asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)

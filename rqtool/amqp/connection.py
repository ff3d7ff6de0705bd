"""Connections and channels whose callbacks are awaitables.

The event loop owns pika: everything here runs on it, nothing here blocks it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from weakref import WeakSet

import pika
import pika.exceptions
import pika.frame
from pika.channel import MAX_CHANNELS
from pika.channel import Channel as PikaChannel

from rqtool.amqp import tables
from rqtool.amqp.acks import Acks
from rqtool.amqp.errors import Lost, NoAnswer, lost_because
from rqtool.amqp.wire import PikaConnection, RawDelivery
from rqtool.endpoint.urls import BrokerURL
from rqtool.topology import DEFAULT_DELIVERY_LIMIT, Arguments

# pika logs the errors that it raises, and also parts of message bodies.
logging.getLogger("pika").setLevel(logging.CRITICAL)
tables.install()

CLOSE_SECONDS = 5.0
CALL_SECONDS = 20.0
"""How long the broker may take to answer a call: the connection may be dead, and heartbeats may be off."""


class Channel:
    """One AMQP channel. `lost` resolves (it never raises) to the reason when the channel or its connection goes."""

    def __init__(self, raw: PikaChannel, connection: PikaConnection) -> None:
        self.raw = raw
        self._connection = connection
        self.acks = Acks()
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[Lost] = self._loop.create_future()
        raw.add_on_close_callback(lambda _, reason: resolve(self.lost, reason))
        self.lost.add_done_callback(lambda _: self.on_delivery(None))

    async def call(self, method: Callable[..., Any], /, **arguments: Any) -> Any:
        """Call a pika method that answers by `callback` and return its answer. Raises Lost when none comes."""
        self.flush()
        return await ask(lambda take: method(callback=take, **arguments), self.lost)

    def ack(self, tag: int) -> None:
        """Acknowledge a delivery, in one write with all others of this turn of the event loop."""
        if self.acks.ack(tag):
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write the collected acks."""
        frames = [
            pika.frame.Method(self.raw.channel_number, pika.spec.Basic.Ack(tag, multiple))  # type: ignore[no-untyped-call]
            for tag, multiple in self.acks.take()
        ]
        if frames:
            self.write(b"".join(frame.marshal() for frame in frames))

    def requeue(self, tag: int, *, multiple: bool = False) -> None:
        """Give back a delivery; `multiple`: with all unsettled ones before it, at once and in order.

        `nack`, since RabbitMQ 4.3 counts a `reject` toward a quorum queue's delivery limit.
        """
        self.flush()  # `multiple` must not cover what was acknowledged
        self.acks.settled(tag, multiple=multiple)
        with suppress(pika.exceptions.AMQPError):  # a closed channel has given them back
            self.raw.basic_nack(tag, multiple=multiple)

    def close(self) -> None:
        """Write the collected acks and close the channel, unless it is closed."""
        if self.raw.is_open:
            self.flush()
            self.raw.close()

    def write(self, frames: bytes) -> None:
        """Write encoded frames of this channel, in order with pika's own writes; a closed channel ignores them."""
        if self.raw.is_open and self._connection.is_open:
            self._connection.write(frames)

    def on_delivery(self, take: Callable[[RawDelivery], None] | None) -> None:
        """Hand deliveries directly to `take`, bypassing pika; None: to pika's own consumer callbacks."""
        if take is not None and not self.lost.done():  # another channel may soon have the number of a lost one
            self._connection.on_delivery[self.raw.channel_number] = take
        else:
            self._connection.on_delivery.pop(self.raw.channel_number, None)


class Connection:
    """One open AMQP connection. `lost` resolves (it never raises) to the reason when it goes."""

    def __init__(self, raw: PikaConnection, url: BrokerURL, lost: asyncio.Future[Lost]) -> None:
        self._raw = raw
        self._channels: WeakSet[Channel] = WeakSet()
        self._at_once: asyncio.Semaphore | None = None
        self.url = url
        self.lost = lost

    @property
    def default_limit(self) -> int | None:
        """The broker's default delivery limit for quorum queues; None (RabbitMQ 3): there is none."""
        return None if str((self._raw.server_properties or {}).get("version"))[:2] == "3." else DEFAULT_DELIVERY_LIMIT

    def on_blocked(self, changed: Callable[[str | None], None]) -> None:
        """Call `changed` with the broker's reason when it stops reading from us, and with None when it reads again.

        https://www.rabbitmq.com/docs/connection-blocked
        """
        self._raw.add_on_connection_blocked_callback(
            lambda _, frame: changed(str(frame.method.reason or "a resource alarm"))
        )
        self._raw.add_on_connection_unblocked_callback(lambda *_: changed(None))

    async def channel(self) -> Channel:
        """Open a channel. Raises Lost."""

        def send(take: Callable[[Channel], None]) -> None:
            # Wrapped before the wait ends: it may close before we run again, and must find us listening.
            self._raw.channel(on_open_callback=lambda raw: take(Channel(raw, self._raw)))

        channel: Channel = await ask(send, self.lost)
        self._channels.add(channel)
        return channel

    async def declare(self, queue: str, arguments: Arguments | None) -> tuple[int, int]:
        """Declare a queue, durable unless the arguments say NOT_DURABLE; None: only look at it (passive). Raises Lost.

        Returns how many messages are ready in it, and how many consumers it has.
        """
        own = dict(arguments or {})
        async with self._brief_channel() as channel:
            answer = await channel.call(
                channel.raw.queue_declare,
                queue=queue,
                durable=bool(own.pop("durable", True)),
                passive=arguments is None,
                arguments=own or None,
            )
        return int(answer.method.message_count), int(answer.method.consumer_count)

    async def look_at_exchange(self, exchange: str) -> None:
        """Raises Lost (404 if it does not exist)."""
        async with self._brief_channel() as channel:
            await channel.call(channel.raw.exchange_declare, exchange=exchange, passive=True)

    async def bind(self, source: str, pattern: str, target: str, *, is_queue: bool) -> None:
        """Make sure that the durable topic exchange `source` exists and routes messages that match `pattern` to
        `target`, a queue or another such exchange. Raises Lost.
        """
        async with self._brief_channel() as channel:
            raw = channel.raw
            for name in [source] if is_queue else [source, target]:
                await channel.call(raw.exchange_declare, exchange=name, exchange_type="topic", durable=True)
            if is_queue:
                await channel.call(raw.queue_bind, queue=target, exchange=source, routing_key=pattern)
            else:
                await channel.call(raw.exchange_bind, destination=target, source=source, routing_key=pattern)

    @asynccontextmanager
    async def _brief_channel(self) -> AsyncIterator[Channel]:
        """A channel for a few calls, since a refusal closes it. Callers wait for one another where the broker allows
        few: as many again may still be closing, and two others are in use.
        """
        if self._at_once is None:
            self._at_once = asyncio.Semaphore(max(1, (self._raw.params.channel_max or MAX_CHANNELS) // 2 - 2))
        async with self._at_once:
            channel = await self.channel()
            try:
                yield channel
            finally:
                channel.close()

    async def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Close in order, so that everything written before reaches the broker. Gives up after `seconds`, since a
        broker in alarm doesn't read.
        """
        if self._raw.is_open:
            for channel in self._channels:
                channel.flush()
            self._raw.close()
        await asyncio.wait({self.lost}, timeout=seconds)
        self._raw.drop()

    def abandon(self) -> None:
        """Close, even in the middle of the handshake, without waiting for anything. A broker that does not answer must
        not keep the socket open: pika waits for its close-ok without a limit.
        """
        if not (self._raw.is_closed or self._raw.is_closing):
            self._raw.close()
            asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._raw.drop)


async def ask(send: Callable[[Callable[..., None]], object], lost: asyncio.Future[Lost]) -> Any:
    """Call `send` with a callback for the answer, and return the answer (None: an empty one). Raises Lost if pika can't
    send or no answer can come any more; NoAnswer if none came within CALL_SECONDS.
    """
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def take(*frames: Any) -> None:
        if not answer.done():
            answer.set_result(frames[0] if frames else None)

    try:
        send(take)
    except (pika.exceptions.AMQPError, pika.exceptions.ChannelError) as error:
        raise lost_because(error) from None
    if not await either(answer, lost, CALL_SECONDS):
        raise NoAnswer
    if answer.done():
        return answer.result()
    raise lost.result()


async def either(first: asyncio.Future[Any], second: asyncio.Future[Any], seconds: float | None = None) -> bool:
    """Wait for one of the two. Returns False if neither came in time."""
    done, _ = await asyncio.wait({first, second}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    return bool(done)


def resolve(future: asyncio.Future[Lost], reason: object) -> None:
    """Resolve a `lost` with pika's reason or ours, unless it has one already."""
    if not future.done():
        future.set_result(lost_because(reason))

"""Connections and channels whose callbacks are awaitables.

The event loop owns pika: everything here runs on it, nothing here blocks it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn, TypeVar
from weakref import WeakSet

import pika
import pika.exceptions
import pika.frame
from pika.channel import Channel as PikaChannel

from rqtool.amqp import tables as fields
from rqtool.amqp.acks import Acks
from rqtool.amqp.errors import words
from rqtool.amqp.reading import Arrived
from rqtool.amqp.refusals import refused
from rqtool.amqp.wire import Wire
from rqtool.endpoint.urls import BrokerURL
from rqtool.errors import AccessRefused

# pika logs what it raises, and parts of message bodies besides.
logging.getLogger("pika").setLevel(logging.CRITICAL)
fields.install()

CLOSE_SECONDS = 5.0
CALL_SECONDS = 20.0
"""How long a question may stay without an answer: the line may be dead, and heartbeats may be off."""

T = TypeVar("T")


class Lost(Exception):
    """A channel or its connection is gone. `code` is AMQP's reply code, 0 where the stream itself broke."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return f"{self.text} ({self.code})" if self.code else self.text


class Channel:
    """One AMQP channel. `lost` resolves (it never raises) to the reason when the channel or its connection goes."""

    def __init__(self, raw: PikaChannel, wire: Wire) -> None:
        self.raw = raw
        self._wire = wire
        self.acks = Acks()
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[Lost] = self._loop.create_future()
        raw.add_on_close_callback(lambda _, reason: resolve(self.lost, reason))
        self.lost.add_done_callback(lambda _: self.on_delivery(None))

    async def call(self, method: Callable[..., Any], /, **arguments: Any) -> Any:
        """Call a pika method that answers by `callback` and return its answer. Raises Lost when none comes."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def take(*frames: Any) -> None:
            if not answer.done():
                answer.set_result(frames[0] if frames else None)

        self.flush()
        try:
            method(callback=take, **arguments)
        except pika.exceptions.AMQPError as error:
            raise _lost(error) from None
        return await answered(answer, self.lost)

    def ack(self, tag: int) -> None:
        """Acknowledge a delivery, together with what else is acknowledged before the event loop's next turn."""
        if self.acks.ack(tag):
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write the acks that were collected."""
        frames = [
            pika.frame.Method(self.raw.channel_number, pika.spec.Basic.Ack(tag, multiple))  # type: ignore[no-untyped-call]
            for tag, multiple in self.acks.take()
        ]
        if frames:
            self.write(b"".join(frame.marshal() for frame in frames))

    def requeue_up_to(self, tag: int) -> None:
        """Give back, by one answer, every delivery up to this one that is not settled."""
        self.flush()  # "multiple" must find nothing unsettled that was acknowledged
        self.acks.settled(tag, multiple=True)
        with suppress(pika.exceptions.AMQPError):  # one that is closed has given them back
            self.raw.basic_nack(tag, multiple=True)

    def close(self) -> None:
        """Close it, behind its acks. One that is closed stays so."""
        if self.raw.is_open:
            self.flush()
            self.raw.close()

    def write(self, frames: bytes) -> None:
        """Write encoded frames of this channel, in order with what pika writes. One that is closed takes nothing."""
        if self.raw.is_open and self._wire.is_open:
            self._wire.write(frames)

    def on_delivery(self, take: Callable[[Arrived], None] | None) -> None:
        """Have deliveries taken at once; None: they go pika's way, to whom it knows as their consumer."""
        if take is not None and not self.lost.done():  # the number of one that is lost can be another one's soon
            self._wire.takers[self.raw.channel_number] = take
        else:
            self._wire.takers.pop(self.raw.channel_number, None)


class Connection:
    """One open AMQP connection. `lost` resolves (it never raises) to the reason when it goes."""

    def __init__(self, raw: Wire, url: BrokerURL, lost: asyncio.Future[Lost]) -> None:
        self._raw = raw
        self._channels: WeakSet[Channel] = WeakSet()
        self.url = url
        self.lost = lost

    def on_blocked(self, told: Callable[[str | None], None]) -> None:
        """Tell when the broker stops reading from us (with its reason), and when it reads again (None).

        https://www.rabbitmq.com/docs/connection-blocked
        """
        self._raw.add_on_connection_blocked_callback(
            lambda _, frame: told(str(frame.method.reason or "a resource alarm"))
        )
        self._raw.add_on_connection_unblocked_callback(lambda *_: told(None))

    async def channel(self) -> Channel:
        """Open a channel. Raises Lost."""
        opened: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()

        def opened_now(raw: PikaChannel) -> None:
            # Wrapped inside the callback: a channel that closes before we run again must find us listening.
            if not opened.done():
                channel = Channel(raw, self._raw)
                self._channels.add(channel)
                opened.set_result(channel)

        try:
            self._raw.channel(on_open_callback=opened_now)
        except pika.exceptions.AMQPError as error:
            raise _lost(error) from None
        return await answered(opened, self.lost)

    async def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Close in order: what was written before it has reached the broker. Gives up after `seconds`, since a
        broker in alarm doesn't read.
        """
        if self._raw.is_open:
            for channel in self._channels:
                channel.flush()
            self._raw.close()
        await asyncio.wait({self.lost}, timeout=seconds)

    def abandon(self) -> None:
        """Close, in whatever state it is, without waiting for anything."""
        if not (self._raw.is_closed or self._raw.is_closing):
            self._raw.close()


async def answered(answer: asyncio.Future[T], lost: asyncio.Future[Lost]) -> T:
    """Wait for an answer. Raises Lost: none can come any more, or none came within CALL_SECONDS."""
    if not await either(answer, lost, CALL_SECONDS):
        raise Lost(0, "the broker does not answer")
    if answer.done():
        return answer.result()
    raise lost.result()


async def either(first: asyncio.Future[Any], second: asyncio.Future[Any], seconds: float | None = None) -> bool:
    """Wait for one of the two. False: neither came in time."""
    done, _ = await asyncio.wait({first, second}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    return bool(done)


def resolve(future: asyncio.Future[Lost], reason: object) -> None:
    """Tell why a channel or connection went: pika's reason, the first one that comes."""
    if not future.done():
        future.set_result(_lost(reason))


def _lost(reason: object) -> Lost:
    if isinstance(reason, pika.exceptions.ConnectionClosed | pika.exceptions.ChannelClosed):
        return Lost(reason.reply_code, reason.reply_text)
    if isinstance(reason, pika.exceptions.AMQPHeartbeatTimeout):
        return Lost(0, "the broker fell silent: no heartbeat")
    return Lost(0, words(reason))


def refuse(lost: Lost, doing: str) -> NoReturn:
    """Raise AccessRefused for a channel that the broker closed for want of a right; Lost again for all else: a limit
    that is reached, or a consumer that is alone on its queue, is waited out like a broker that is away.
    """
    error = refused(lost.code, lost.text, doing)
    if isinstance(error, AccessRefused):
        raise error
    raise lost

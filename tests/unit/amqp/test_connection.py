"""What is written to a channel, and in which order: acks that were collected come before all that settles or ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from unittest.mock import Mock

import pika
import pika.frame

from rqtool.amqp.connection import Channel, Connection, Lost
from rqtool.amqp.consumer import Delivery

Acted = Callable[[Channel, list[Delivery]], object]


def _written(act: Acted) -> list[str]:
    """What pika gets to write when something is done with three deliveries."""
    written: list[str] = []

    def write(data: bytes) -> None:
        while data:
            size, frame = pika.frame.decode_frame(data)
            assert isinstance(frame, pika.frame.Method)
            ack = frame.method
            written.append(f"ack {'up to ' if ack.multiple else ''}{ack.delivery_tag}")
            data = data[size:]

    def nack(tag: int, *, multiple: bool) -> None:
        written.append(f"nack {'up to ' if multiple else ''}{tag}")

    async def run() -> None:
        raw = Mock(channel_number=1, is_open=True)
        raw.basic_nack = nack
        raw.close = lambda: written.append("close")
        channel = Channel(raw, Mock(is_open=True, write=write, takers={}))
        properties = pika.BasicProperties()  # type: ignore[no-untyped-call]
        done = act(channel, [Delivery(channel, "q", tag, False, properties, b"") for tag in (1, 2, 3)])
        await (done if isinstance(done, Awaitable) else asyncio.sleep(0))

    asyncio.run(run())
    return written


def test_acks_of_one_turn_go_together() -> None:
    assert _written(lambda _, held: [each.ack() for each in held[:2]]) == ["ack up to 2"]


def test_acks_before_a_nack_of_many() -> None:
    """It would give back what was done."""
    assert _written(lambda _, held: [held[0].ack(), held[2].requeue_up_to_here()]) == ["ack 1", "nack up to 3"]


def test_acks_before_a_close() -> None:
    def act(channel: Channel, held: list[Delivery]) -> None:
        held[1].ack()
        channel.close()

    assert _written(act) == ["ack 2", "close"]


def test_acks_before_the_connections_close() -> None:
    def act(channel: Channel, held: list[Delivery]) -> Awaitable[None]:
        connection = Connection(Mock(is_open=True, close=channel.raw.close), Mock(), channel.lost)
        connection._channels.add(channel)
        held[1].ack()
        channel.lost.set_result(Lost(0, "closed"))
        return connection.close()

    assert _written(act) == ["ack 2", "close"]


def test_a_channel_that_is_lost_takes_no_deliveries() -> None:
    """Not even if it went before it was said who takes them: its number is another one's soon."""

    async def run() -> dict[int, object]:
        takers: dict[int, object] = {}
        channel = Channel(Mock(channel_number=1), Mock(takers=takers))
        channel.lost.set_result(Lost(404, "gone"))
        await asyncio.sleep(0)
        channel.on_delivery(Mock())
        return takers

    assert asyncio.run(run()) == {}

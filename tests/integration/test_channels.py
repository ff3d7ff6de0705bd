"""The order of what is written to a channel: the collected acks precede all that settles deliveries or closes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from rqtool.amqp.connect import connect
from rqtool.amqp.connection import Channel, Connection
from rqtool.amqp.consumer import Consumer, Delivery, Getter
from rqtool.amqp.errors import Lost
from rqtool.amqp.wire import RawDelivery
from rqtool.endpoint.urls import Endpoint, parse_broker_urls
from tests.tools import Vhost, eventually

Settle = Callable[[Connection, Channel, list[Delivery]], Awaitable[None]]


def opened(vhost: Vhost) -> Awaitable[Connection]:
    return connect(Endpoint(parse_broker_urls(vhost.url), ()), "test")


def left_after(vhost: Vhost, settle: Settle) -> list[bytes]:
    """What is in the queue after three deliveries were settled, and the connection was closed."""
    with vhost.channel() as publisher:
        for body in (b"1", b"2", b"3"):
            publisher.basic_publish("", "task_queue", body)
    eventually(lambda: vhost.figures() == (3, 0))

    async def run() -> None:
        connection = await opened(vhost)
        channel = await connection.channel()
        deliveries: asyncio.Queue[Delivery] = asyncio.Queue()
        await Consumer.open(connection, "task_queue", 3, deliveries.put_nowait, channel)
        await settle(connection, channel, [await deliveries.get() for _ in range(3)])
        await connection.close()

    asyncio.run(run())
    eventually(lambda: vhost.figures()[1] == 0)
    return [body for _, body in vhost.take_all()]


async def requeue_many(_: Connection, channel: Channel, held: list[Delivery]) -> None:
    held[0].ack()
    channel.requeue(held[2].tag, multiple=True)


async def close_the_channel(_: Connection, channel: Channel, held: list[Delivery]) -> None:
    held[1].ack()
    channel.close()


async def close_the_connection(connection: Connection, _: Channel, held: list[Delivery]) -> None:
    held[1].ack()
    await connection.close()


@pytest.mark.parametrize(
    ("settle", "left"),
    [(requeue_many, [b"2", b"3"]), (close_the_channel, [b"1", b"3"]), (close_the_connection, [b"1", b"3"])],
)
def test_an_ack_is_not_undone(vhost: Vhost, settle: Settle, left: list[bytes]) -> None:
    """An acknowledged task does not come back by what happens in the same turn of the loop."""
    assert left_after(vhost, settle) == left


def test_a_lost_channel_takes_no_deliveries(vhost: Vhost) -> None:
    """Not even if a handler is set after the loss: the next channel gets the same number."""
    with vhost.channel() as publisher:
        publisher.basic_publish("", "task_queue", b"task")
    stray: list[RawDelivery] = []

    async def run() -> None:
        connection = await opened(vhost)
        old = await connection.channel()
        with pytest.raises(Lost):
            await old.call(old.raw.queue_declare, queue="missing", passive=True)
        old.on_delivery(stray.append)
        new = await connection.channel()
        assert new.raw.channel_number == old.raw.channel_number
        got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        await new.call(
            new.raw.basic_consume, queue="task_queue", on_message_callback=lambda *args: got.set_result(args[3])
        )
        assert await asyncio.wait_for(got, 15) == b"task"
        await connection.close()

    asyncio.run(run())
    assert stray == []


def test_one_message_at_a_time(vhost: Vhost) -> None:
    """`Getter` takes them in order, then None; acks hold for its deliveries as for others."""
    with vhost.channel() as publisher:
        for body in (b"1", b"2"):
            publisher.basic_publish("", "task_queue", body)
    eventually(lambda: vhost.figures() == (2, 0))

    async def run() -> None:
        connection = await opened(vhost)
        getter = Getter(await connection.channel())
        first, second = await getter.get("task_queue"), await getter.get("task_queue")
        assert first is not None
        assert second is not None
        assert await getter.get("task_queue") is None
        assert (first.body, first.ack(), first.ack()) == (b"1", True, False)
        assert second.body == b"2"
        second.requeue()
        second.requeue()
        await connection.close()

    asyncio.run(run())
    eventually(lambda: vhost.figures() == (1, 0))

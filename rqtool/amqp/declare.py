"""Declaring a queue, and looking at one."""

from __future__ import annotations

from rqtool.amqp.connection import Connection, Lost
from rqtool.amqp.topology import Arguments

_REFUSED, _NOT_FOUND = 403, 404


async def is_there(connection: Connection, queue: str) -> bool:
    """Whether the queue exists. Raises Lost, also where its node is down and nobody knows what is in it.

    RabbitMQ 4.3 lets nobody look who has no right to a queue, and only where it exists.
    """
    try:
        return await count_if_there(connection, queue) is not None
    except Lost as lost:
        if lost.code != _REFUSED:
            raise
        return True


async def count_if_there(connection: Connection, queue: str) -> int | None:
    """How many messages are ready in the queue at this moment; None where it does not exist. Raises Lost."""
    try:
        return await count_ready(connection, queue)
    except Lost as lost:
        if lost.code != _NOT_FOUND or "no queue" not in lost.text:
            raise
        return None


async def count_ready(connection: Connection, queue: str) -> int:
    """How many messages wait in the queue at this moment. Raises Lost (404 where the queue is gone)."""
    return (await look(connection, queue))[0]


async def look(connection: Connection, queue: str) -> tuple[int, int]:
    """Return how many messages wait in the queue, and how many consumers it has. Raises Lost as `count_ready`."""
    return await declare(connection, queue, None)


async def declare(connection: Connection, queue: str, arguments: Arguments | None) -> tuple[int, int]:
    """Declare, or without arguments only look (passive); each on a channel of its own, since a refusal closes it."""
    channel = await connection.channel()
    answer = await channel.call(
        channel.raw.queue_declare,
        queue=queue,
        durable=True,
        passive=arguments is None,
        arguments=arguments or None,
    )
    channel.close()
    return int(answer.method.message_count), int(answer.method.consumer_count)

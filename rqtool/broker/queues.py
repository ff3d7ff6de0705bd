"""Declaring queues: shared with whoever declares plain durable ones, adopted where they exist with other arguments."""

from __future__ import annotations

from rqtool.broker.connection import Connection, Lost, refuse
from rqtool.broker.topology import Arguments, Mismatch, QueueType, dead_queue, mirror, parse_mismatch, queue_arguments
from rqtool.errors import AccessRefused, UnsafeQueue

_REFUSED, _NOT_FOUND, _LOCKED, _PRECONDITION = 403, 404, 405, 406
_MOST_ARGUMENTS = 20


async def ensure_queue(connection: Connection, queue: str, kind: QueueType | None) -> None:
    """Make sure that `queue` exists and keeps what it is given.

    Raises UnsafeQueue where it exists and is not durable, deletes itself, is somebody's alone, or is not of the type
    that was asked for; AccessRefused; Lost.
    """
    await _ensure(connection, queue, queue_arguments(queue, kind), kind)
    if kind == "quorum":
        # After the queue itself, which may be refused; before any task: its dead-letter route must lead somewhere.
        await _ensure(connection, dead_queue(queue), {"x-queue-type": "quorum"}, "quorum")


async def count_ready(connection: Connection, queue: str) -> int:
    """How many messages wait in the queue at this moment. Raises Lost (404 where the queue is gone)."""
    return await _declare(connection, queue, None)


async def _ensure(connection: Connection, queue: str, arguments: Arguments, kind: QueueType | None) -> None:
    for _ in range(_MOST_ARGUMENTS):
        try:
            await _declare(connection, queue, arguments)
            return
        except Lost as lost:
            if lost.code == _REFUSED:
                await _exists(connection, queue)
                return
            if lost.code == _LOCKED:
                raise UnsafeQueue(
                    f"Queue {queue!r} is exclusive to another connection and goes with it", _other_name(queue)
                ) from None
            if lost.code != _PRECONDITION:
                raise
            mismatch = parse_mismatch(lost.text)
            if mismatch is None:
                raise UnsafeQueue(
                    f"The broker refused to declare queue {queue!r}: {lost.text}", "Use another name (--queue)"
                ) from None
        _check(queue, mismatch, kind)
        if kind is None or not mismatch.understood:
            await _declare(connection, queue, None)
            return
        # The first difference hides the others: take it over and ask again, until the type is the one that differs.
        arguments = mirror(arguments, mismatch)


def _check(queue: str, mismatch: Mismatch, kind: QueueType | None) -> None:
    if mismatch.field == "durable":
        raise UnsafeQueue(
            f"Queue {queue!r} exists and is not durable: its tasks would not survive a restart of the broker",
            _other_name(queue),
        )
    if not mismatch.field.startswith("x-"):
        raise UnsafeQueue(f"Queue {queue!r} exists with {mismatch.field}={mismatch.current}", _other_name(queue))
    if mismatch.field == "x-queue-type" and kind is not None:
        raise UnsafeQueue(
            f"Queue {queue!r} exists and is a {mismatch.current or 'classic'} queue, not a {kind} one",
            f"Leave --type out to use it as it is, or use another name, for instance: --queue {queue}_{kind}",
        )


def _other_name(queue: str) -> str:
    return f"Use another name, for instance: --queue {queue}_durable"


async def _exists(connection: Connection, queue: str) -> None:
    """Somebody who may only read and write does not declare; the queue of another is good enough, if it is there."""
    try:
        await _declare(connection, queue, None)
    except Lost as lost:
        if lost.code == _NOT_FOUND:
            raise AccessRefused(
                f"Queue {queue!r} does not exist and this user may not create it",
                "Ask for it to be created, or for configure permission (rabbitmqctl set_permissions)",
            ) from None
        refuse(lost, f"queue {queue!r}")


async def _declare(connection: Connection, queue: str, arguments: Arguments | None) -> int:
    """Declare, or without arguments only look (passive); each on a channel of its own, since a refusal closes it."""
    channel = await connection.channel()
    answer = await channel.call(
        channel.raw.queue_declare,
        queue=queue,
        durable=True,
        passive=arguments is None,
        arguments=arguments or None,
    )
    channel.raw.close()
    return int(answer.method.message_count)

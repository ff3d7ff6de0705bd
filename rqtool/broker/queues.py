"""Declaring queues: shared with whoever declares plain durable ones, adopted where they exist with other arguments."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from rqtool.broker.connection import Connection, Lost, refuse
from rqtool.broker.topology import (
    Arguments,
    Mismatch,
    Place,
    QueueType,
    dead,
    mirror,
    parse_mismatch,
    place_arguments,
    queue_arguments,
)
from rqtool.errors import AccessRefused, UnsafeQueue

_REFUSED, _NOT_FOUND, _LOCKED, _PRECONDITION = 403, 404, 405, 406
_MOST_ARGUMENTS = 20
_DEFAULT_DELIVERY_LIMIT = 20
"""RabbitMQ 4's for quorum queues; RabbitMQ 3 has none."""
_ROUTE = ("x-dead-letter-exchange", "x-dead-letter-routing-key")


async def ensure_queue(connection: Connection, queue: str, kind: QueueType | None) -> None:
    """Make sure that `queue` exists and keeps what it is given.

    Raises UnsafeQueue where it exists and is not durable, deletes itself, is somebody's alone, is a stream, or is not
    of the type that was asked for; AccessRefused; Lost.
    """
    arguments, check = queue_arguments(queue, kind), partial(_check, queue, kind)
    await _ensure(connection, queue, arguments, check, to_the_end=kind is not None)
    if kind == "quorum":
        # After the queue itself, which may be refused; before any task: its dead-letter route must lead somewhere.
        await ensure_place(connection, dead(queue), "quorum")


async def ensure_place(connection: Connection, place: Place, kind: QueueType | None) -> None:
    """Make sure that a dead queue or a wait queue exists; `kind` as `find_kind` says.

    Raises UnsafeQueue where it exists and would not keep the tasks, or not send them home; AccessRefused; Lost.
    """
    await _ensure(connection, place.name, place_arguments(place, kind), partial(_check_place, place))


async def find_kind(connection: Connection, queue: str, kind: QueueType | None) -> QueueType | None:
    """Return what the queues beside an existing `queue` are to be declared as; None: plain, as it is itself.

    `kind` is what the user asked for. Raises as `ensure_queue`.
    """
    if kind is not None:
        return kind
    if await _fits(connection, queue, {}):
        # The type is the vhost's default, and that may be quorum.
        return "quorum" if await _fits(connection, queue, {"x-queue-type": "quorum"}) else None
    if await _fits(connection, queue, queue_arguments(queue, "quorum")):
        return "quorum"  # one of rqtool's own
    found = (await _ensure(connection, queue, {}, partial(_check, queue, None))).get("x-queue-type")
    return None if found is None else "quorum" if found == "quorum" else "classic"


async def _fits(connection: Connection, queue: str, arguments: Arguments) -> bool:
    """Whether the queue is there with just these arguments; where it is not there at all, it is now."""
    try:
        await _declare(connection, queue, arguments)
    except Lost as lost:
        if lost.code not in (_PRECONDITION, _REFUSED):
            raise
        return False
    return True


async def is_there(connection: Connection, queue: str) -> bool:
    """Whether the queue exists. Raises Lost, also where its node is down and nobody knows what is in it."""
    try:
        await _declare(connection, queue, None)
    except Lost as lost:
        if lost.code != _NOT_FOUND or "no queue" not in lost.text:
            raise
        return False
    return True


async def count_ready(connection: Connection, queue: str) -> int:
    """How many messages wait in the queue at this moment. Raises Lost (404 where the queue is gone)."""
    return await _declare(connection, queue, None)


async def delivery_limit(connection: Connection, queue: str) -> int | None:
    """How often a quorum queue takes a message back before it drops it, as far as its arguments tell; None: it is none.

    A policy may say less, and can't be seen from here. Raises AccessRefused, Lost.
    """
    try:
        found = await _ensure(connection, queue, {"x-queue-type": "quorum"}, partial(_check, queue, None))
    except UnsafeQueue:
        return None  # it is not durable, or somebody's alone, or a stream
    if found.get("x-queue-type") != "quorum":
        return None
    limit = found.get("x-delivery-limit", _DEFAULT_DELIVERY_LIMIT)
    return limit if isinstance(limit, int) and limit >= 0 else sys.maxsize


async def _ensure(
    connection: Connection,
    queue: str,
    arguments: Arguments,
    check: Callable[[Mismatch], None],
    *,
    to_the_end: bool = True,
) -> Arguments:
    """Declare the queue; where it exists with other arguments, adopt those that `check` lets pass.

    Returns the arguments that the broker agreed to, as far as it told. Not `to_the_end`: the first difference will do.
    """
    for _ in range(_MOST_ARGUMENTS):
        try:
            await _declare(connection, queue, arguments)
            return arguments
        except Lost as lost:
            if lost.code == _REFUSED:
                await _exists(connection, queue)
                return arguments
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
        check(mismatch)
        if not (to_the_end and mismatch.understood):
            break
        # The first difference hides the others: take it over and ask again, until none is left.
        arguments = mirror(arguments, mismatch)
    await _declare(connection, queue, None)
    return arguments


def _check(queue: str, kind: QueueType | None, mismatch: Mismatch) -> None:
    if mismatch.field == "durable":
        raise UnsafeQueue(
            f"Queue {queue!r} exists and is not durable: its tasks would not survive a restart of the broker",
            _other_name(queue),
        )
    if not mismatch.field.startswith("x-"):
        raise UnsafeQueue(f"Queue {queue!r} exists with {mismatch.field}={mismatch.current}", _other_name(queue))
    if mismatch.field == "x-queue-type" and mismatch.current == "stream":
        raise UnsafeQueue(f"{queue!r} is a stream: it keeps what was acknowledged", _other_name(queue))
    if mismatch.field == "x-queue-type" and kind is not None:
        raise UnsafeQueue(
            f"Queue {queue!r} exists and is a {mismatch.current or 'classic'} queue, not a {kind} one",
            f"Leave --type out to use it as it is, or use another name, for instance: --queue {queue}_{kind}",
        )


def _check_place(place: Place, mismatch: Mismatch) -> None:
    _check(place.name, None, mismatch)
    if place.wait is not None and mismatch.field in ("x-message-ttl", *_ROUTE):
        raise UnsafeQueue(
            f"Queue {place.name!r} exists with {mismatch.field}={mismatch.current}: "
            f"what waits there would not come back to {place.home!r} in time",
            "Delete it when it is empty, or use other --retry-delays",
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
    channel.close()
    return int(answer.method.message_count)

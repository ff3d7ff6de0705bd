"""Declaring queues, adopting those that exist with other arguments, and looking at them.

A queue that may lose tasks is refused. The broker's error about a declaration with other arguments tells those of an
existing queue: https://www.rabbitmq.com/docs/queues#property-equivalence
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rqtool.amqp.connection import Connection
from rqtool.amqp.errors import (
    ACCESS_REFUSED,
    NOT_FOUND,
    PRECONDITION_FAILED,
    RESOURCE_LOCKED,
    ArgumentMismatch,
    Lost,
    mirror,
    parse_mismatch,
    raise_refusal,
    temporary_refusal,
)
from rqtool.amqp.new_queues import NEW_SECONDS, mark_as_new
from rqtool.errors import AccessRefused, UnsafeQueue, UsageError
from rqtool.topology import (
    NOT_DURABLE,
    Arguments,
    Destination,
    QueueType,
    at_home,
    dead,
    drops,
    most_returns,
    quarantine,
    queue_arguments,
    returned,
    sibling_arguments,
)

_RETURN_FIELDS = ("x-message-ttl", "x-dead-letter-exchange", "x-dead-letter-routing-key")
_MOST_ARGUMENTS = 20
_DELETE_IT = "Delete it when it is empty; rqtool creates it again"


async def is_there(connection: Connection, queue: str) -> bool:
    """Whether the queue exists. Raises Lost, also if its node is down.

    RabbitMQ 4.3 refuses this to users without any right to the queue, but only if it exists.
    """
    try:
        return await look(connection, queue) is not None
    except Lost as lost:
        if lost.code != ACCESS_REFUSED:
            raise
        return True


async def look(connection: Connection, queue: str) -> tuple[int, int] | None:
    """How many messages are ready in the queue, and its consumers; None if it does not exist. Raises Lost."""
    try:
        return await connection.declare(queue, None)
    except Lost as lost:
        if lost.code != NOT_FOUND or "no queue" not in lost.text:
            raise
        return None


async def count_ready(connection: Connection, queue: str) -> int:
    """How many messages are ready in the queue. Raises Lost (404 if it does not exist)."""
    return (await connection.declare(queue, None))[0]


@dataclass(frozen=True, slots=True)
class DeclaredQueue:
    """A queue that exists now. `arguments`: as far as they are known; `made`: we created it; `new`: it, or a queue that
    it needs, may be too new to survive a crash; `drops`: see rqtool.topology, None: this user may not see the settings.
    """

    arguments: Arguments
    made: bool
    new: bool
    drops: Sequence[str] | None


async def ensure_queue(
    connection: Connection, queue: str, kind: QueueType | None, *, accept_loss: bool = False, commits: bool = False
) -> DeclaredQueue:
    """Make sure that `queue` exists and keeps its tasks; `commits`: in transactions too. Raises UnsafeQueue if it
    exists and is auto-deleted, exclusive, a stream, not of the type `kind`, or (unless `accept_loss`) not durable, or
    may drop confirmed tasks; AccessRefused; Lost.
    """
    others: list[Arguments] = [] if kind else [{"x-queue-type": "quorum"}, queue_arguments(queue, "quorum")]
    found = await _ensure(connection, at_home(queue), kind, [queue_arguments(queue, kind), *others])
    if found.arguments.get("durable") is False and (kind == "quorum" or not accept_loss):
        or_not = "" if kind == "quorum" else "; or --accept-loss to use it all the same"
        raise UnsafeQueue(_not_durable(queue), _other_name(queue) + or_not)
    if found.drops and not accept_loss:
        raise UnsafeQueue(
            f"Queue {queue!r} may drop tasks that it has confirmed: {', '.join(found.drops)}",
            "Use another queue, or --accept-loss to use it all the same",
        )
    if commits and found.arguments.get("x-queue-type") == "quorum":
        raise UnsafeQueue(
            f"{queue!r} is a quorum queue, for which the broker commits what it does not take",
            "Leave --guarantee tx out: a confirm is never given for what was not taken",
        )
    if kind == "quorum":
        # After the queue itself, which may be refused; before any task: its dead-letter route must lead somewhere.
        beside = await ensure_sibling(connection, dead(queue), "quorum")
        return replace(found, new=found.new or beside.new)
    return found


async def ensure_sibling(connection: Connection, target: Destination, kind: QueueType | None) -> DeclaredQueue:
    """Make sure that a queue beside the main one exists; `kind` is the main queue's type if the user gave one.

    Raises UnsafeQueue if it exists and would not keep the tasks, or not return them to the main queue; AccessRefused;
    Lost.
    """
    kinds = [kind]
    if target == dead(target.home) and kind is None:
        there = await is_there(connection, target.name)
        kinds = [None, "quorum"] if there else [await _dead_kind(connection, target.home)]
    found = await _ensure(connection, target, None, [sibling_arguments(target, each) for each in kinds])
    if found.drops:
        raise UnsafeQueue(
            f"Queue {target.name!r} may drop the tasks of {target.home!r} that are put there: {', '.join(found.drops)}",
            "Delete it when it is empty; rqtool creates it again without that",
        )
    return found


async def delivery_limit(connection: Connection, queue: str) -> int | None:
    """A quorum queue's delivery limit, as far as its arguments tell; None: it is not a quorum queue. A policy may set a
    lower one, which AMQP does not show. Raises AccessRefused, Lost.
    """
    try:
        found = await _ensure(connection, at_home(queue), None, [{"x-queue-type": "quorum"}])
    except UnsafeQueue:
        return None  # exclusive, or a stream
    return most_returns(found.arguments, connection.default_limit)


async def _dead_kind(connection: Connection, queue: str) -> QueueType | None:
    """The type to declare the dead queue of an existing `queue` with: its own; None if it has no arguments.

    Raises as `ensure_queue`.
    """
    kind = (await ensure_queue(connection, queue, None, accept_loss=True)).arguments.get("x-queue-type")
    return None if kind is None else "quorum" if kind == "quorum" else "classic"


async def _ensure(
    connection: Connection, target: Destination, kind: QueueType | None, likely: Sequence[Arguments]
) -> DeclaredQueue:
    """Declare the queue with the first of `likely`; adopt it if it exists with other arguments that `_check` allows."""
    try:
        made = not await is_there(connection, target.name)
        marked = made and await mark_as_new(connection, target.home)
        seen = await _declare_or_adopt(connection, target, kind, likely)
        if made and not marked:
            await asyncio.sleep(NEW_SECONDS)  # without a marker, no other client knows that the queue is new
        if marked:
            await mark_as_new(connection, target.home)  # anew: it can take seconds to make a queue
    except Lost as lost:
        if lost.code != RESOURCE_LOCKED:
            raise
        raise UnsafeQueue(
            f"Queue {target.name!r} is exclusive to another connection and goes with it", _other_than(target)
        ) from None
    if seen is None:
        return DeclaredQueue(likely[0], made, marked, None)
    is_quorum = seen.get("x-queue-type") == "quorum" or "x-delivery-limit" in seen
    type_ = "quorum" if is_quorum else None
    found, without_route = drops(seen, type_), drops({**seen, "x-dead-letter-exchange": None}, type_)
    if found != without_route and await _dead_letters_to_nowhere(connection, target.home, seen):
        found = without_route
    return DeclaredQueue(seen, made, marked, found)


async def _dead_letters_to_nowhere(connection: Connection, home: str, arguments: Arguments) -> bool:
    """Whether a queue beside `home` dead-letters to an exchange or a queue that does not exist, which drops messages;
    at least once, the queue would keep them.
    """
    if arguments.get("x-dead-letter-strategy") == "at-least-once" and arguments.get("x-overflow") == "reject-publish":
        return False
    exchange, key = arguments.get("x-dead-letter-exchange"), arguments.get("x-dead-letter-routing-key")
    try:
        if exchange:
            await connection.look_at_exchange(str(exchange))
        elif key not in (None, dead(home).name):  # the message's own; one that a worker makes
            await connection.declare(str(key), None)
    except Lost as lost:
        return lost.code == NOT_FOUND and not temporary_refusal(lost.text)  # its node may be down
    return False


async def _declare_or_adopt(
    connection: Connection, target: Destination, kind: QueueType | None, likely: Sequence[Arguments]
) -> Arguments | None:
    """Return the arguments that the broker accepted, as far as it named them; None if this user may not see them."""
    queue = target.name
    arguments, *others = likely
    for _ in range(_MOST_ARGUMENTS):
        try:
            await connection.declare(queue, arguments)
            if not arguments:  # then the type is the vhost's default, which may be another
                await connection.declare(queue, {"x-queue-type": "classic"})
            return arguments
        except Lost as lost:
            if lost.code == ACCESS_REFUSED:
                await _check_exists(connection, queue)
                return None
            if lost.code != PRECONDITION_FAILED or temporary_refusal(lost.text):
                raise
            mismatch = parse_mismatch(lost.text)
            if mismatch is None:
                raise UnsafeQueue(
                    f"The broker refused to declare queue {queue!r}: {lost.text}", "Use another name (--queue)"
                ) from None
        _check(target, kind, mismatch)
        if mismatch.field == "durable":
            arguments, others = NOT_DURABLE, []  # which a classic queue alone can be
            continue
        if not mismatch.understood:
            break
        # The broker names only the first difference: adopt it and declare again, until none is left. The broker logs an
        # error for each, so the likely arguments come first.
        fitting = [each for each in others if each.get(mismatch.field) == mismatch.current]
        others = fitting[1:]
        arguments = fitting[0] if fitting else mirror(arguments, mismatch)
    await connection.declare(queue, None)
    return arguments


async def _check_exists(connection: Connection, queue: str) -> None:
    """Raise AccessRefused if the queue is missing, after this user was not allowed to declare it."""
    try:
        await connection.declare(queue, None)
    except Lost as lost:
        if lost.code == NOT_FOUND and queue.startswith("amq."):
            raise UsageError(
                f"There is no queue {queue!r}, and names with amq. are the broker's", "Use another name"
            ) from None
        if lost.code == NOT_FOUND:
            raise AccessRefused(
                f"Queue {queue!r} does not exist and this user may not create it",
                "Ask for it to be created, or for configure permission, with read and write if it dead-letters "
                "(rabbitmqctl set_permissions)",
            ) from None
        raise_refusal(lost, f"queue {queue!r}")


def _check(target: Destination, kind: QueueType | None, mismatch: ArgumentMismatch) -> None:
    """Raise UnsafeQueue if an existing queue with this difference can't be used."""
    queue, field, current = target.name, mismatch.field, mismatch.current
    what, what_to_do = "", _other_than(target)
    if field == "durable":
        what = "" if target == at_home(queue) else _not_durable(queue)  # ensure_queue() decides about the main one
    elif not field.startswith("x-"):
        what = f"Queue {queue!r} exists with {field}={current}"
    elif field == "x-queue-type" and current == "stream":
        what = f"{queue!r} is a stream: it keeps what was acknowledged"
    elif field == "x-queue-type" and kind is not None:
        what = f"Queue {queue!r} exists and is a {current or 'classic'} queue, not a {kind} one"
        what_to_do = f"Leave --type out to use it as it is, or use another name, for instance: --queue {queue}_{kind}"
    elif field == "x-queue-type" and target in (returned(target.home), quarantine(target.home)):
        what = f"Queue {queue!r} is not a quorum queue, so it does not count how often a task comes back"
    elif target.wait is not None and field in _RETURN_FIELDS:
        what = f"Queue {queue!r} exists with {field}={current}: what waits there would not come back to "
        what += f"{target.home!r} in time"
    if what:
        raise UnsafeQueue(what, what_to_do)


def _not_durable(queue: str) -> str:
    return f"Queue {queue!r} exists and is not durable: its tasks would not survive a restart of the broker"


def _other_than(target: Destination) -> str:
    """Only the main queue has its name from the user."""
    return _other_name(target.name) if target == at_home(target.name) else _DELETE_IT


def _other_name(queue: str) -> str:
    return f"Use another name, for instance: --queue {queue}_durable"

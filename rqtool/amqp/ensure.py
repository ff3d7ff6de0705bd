"""Declaring queues: shared with whoever declares plain durable ones, adopted where they exist with other arguments."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from rqtool.amqp.connection import Connection, Lost, refuse
from rqtool.amqp.declare import declare, is_there
from rqtool.amqp.new_queues import NEW_SECONDS, mark_as_new
from rqtool.amqp.refusals import not_now
from rqtool.amqp.topology import (
    Arguments,
    Mismatch,
    Place,
    QueueType,
    at_home,
    dead,
    mirror,
    parse_mismatch,
    place_arguments,
    quarantine,
    queue_arguments,
    returned,
)
from rqtool.dropping import drops
from rqtool.errors import AccessRefused, UnsafeQueue

_REFUSED, _NOT_FOUND, _LOCKED, _PRECONDITION = 403, 404, 405, 406
_MOST_ARGUMENTS = 20
_DEFAULT_DELIVERY_LIMIT = 20
"""RabbitMQ 4's for quorum queues; RabbitMQ 3 has none."""
_ROUTE = ("x-dead-letter-exchange", "x-dead-letter-routing-key")


@dataclass(frozen=True, slots=True)
class Found:
    """A queue as it is there. `arguments`: all that could be learnt; `new`: it was made
    just now; `drops`: the arguments by which it may drop confirmed tasks.
    """

    arguments: Arguments
    new: bool
    drops: Sequence[str]


async def ensure_queue(
    connection: Connection, queue: str, kind: QueueType | None, *, accept_loss: bool = False, commits: bool = False
) -> Found:
    """Make sure that `queue` exists and keeps what it is given, also in transactions where `commits`.

    Raises UnsafeQueue where it exists and is not durable, deletes itself, is somebody's alone, is a stream, is not of
    the type that was asked for, or (unless `accept_loss`) may drop what it confirmed; AccessRefused; Lost.
    """
    others: list[Arguments] = [] if kind else [{"x-queue-type": "quorum"}, queue_arguments(queue, "quorum")]
    likely = [queue_arguments(queue, kind), *others]
    found = await _ensure(connection, at_home(queue), likely, partial(_check, queue, kind))
    if found.drops and not accept_loss:
        raise UnsafeQueue(
            f"Queue {queue!r} may drop tasks that it has confirmed: {', '.join(found.drops)}",
            "Use another queue, or --accept-loss to use it all the same",
        )
    if commits and (kind or await find_kind(connection, queue)) == "quorum":
        raise UnsafeQueue(
            f"{queue!r} is a quorum queue, for which the broker commits what it does not take",
            "Leave --guarantee tx out: a confirm is never given for what was not taken",
        )
    if kind == "quorum":
        # After the queue itself, which may be refused; before any task: its dead-letter route must lead somewhere.
        beside = await ensure_place(connection, dead(queue), "quorum")
        return Found(found.arguments, found.new or beside.new, found.drops)
    return found


async def ensure_place(connection: Connection, place: Place, kind: QueueType | None) -> Found:
    """Make sure that a queue beside the main one exists, whose type `kind` is, as far as the user says.

    Raises UnsafeQueue where it exists and would not keep the tasks, or not send them home; AccessRefused; Lost.
    """
    if place == dead(place.home) and kind is None:
        there = await is_there(connection, place.name)
        kinds: list[QueueType | None] = [None, "quorum"] if there else [await find_kind(connection, place.home)]
    else:
        kinds = [kind]
    likely = [place_arguments(place, each) for each in kinds]
    found = await _ensure(connection, place, likely, partial(_check_place, place))
    if found.drops:
        raise UnsafeQueue(
            f"Queue {place.name!r} may drop the tasks of {place.home!r} that are put there: {', '.join(found.drops)}",
            "Delete it when it is empty; it is made anew without that",
        )
    return found


async def find_kind(connection: Connection, queue: str) -> QueueType | None:
    """Return what the dead queue of an existing `queue` is to be declared as; None: plain, as that is itself.

    Raises as `ensure_queue`.
    """
    found = (await ensure_queue(connection, queue, None, accept_loss=True)).arguments
    if not found:
        # The type is the vhost's default, and that may be quorum.
        return "quorum" if await _fits(connection, queue, {"x-queue-type": "quorum"}) else None
    type_ = found.get("x-queue-type")
    return None if type_ is None else "quorum" if type_ == "quorum" else "classic"


async def _fits(connection: Connection, queue: str, arguments: Arguments) -> bool:
    """Whether an existing queue has just these arguments."""
    try:
        await declare(connection, queue, arguments)
    except Lost as lost:
        if lost.code not in (_PRECONDITION, _REFUSED):
            raise
        return False
    return True


async def delivery_limit(connection: Connection, queue: str) -> int | None:
    """How often a quorum queue takes a message back before it drops it, as far as its arguments tell; None: it is none.

    A policy may say less, and can't be seen from here. Raises AccessRefused, Lost.
    """
    try:
        found = await _ensure(connection, at_home(queue), [{"x-queue-type": "quorum"}], partial(_check, queue, None))
    except UnsafeQueue:
        return None  # it is not durable, or somebody's alone, or a stream
    if found.arguments.get("x-queue-type") != "quorum":
        return None
    limit = found.arguments.get("x-delivery-limit", _DEFAULT_DELIVERY_LIMIT)
    return limit if isinstance(limit, int) and limit >= 0 else sys.maxsize


async def _ensure(
    connection: Connection, place: Place, likely: Sequence[Arguments], check: Callable[[Mismatch], None]
) -> Found:
    """Declare the queue as the first of `likely`; where it exists with other arguments, adopt those that `check` lets
    pass.
    """
    try:
        made = not await is_there(connection, place.name)
        marked = made and await mark_as_new(connection, place.home)
        arguments = await _declare_or_adopt(connection, place.name, likely, check)
        if made and not marked:
            await asyncio.sleep(NEW_SECONDS)  # nobody else could know
        if marked:
            await mark_as_new(connection, place.home)  # from now on: it can take seconds to make a queue
    except Lost as lost:
        if lost.code != _LOCKED:
            raise
        raise UnsafeQueue(
            f"Queue {place.name!r} is exclusive to another connection and goes with it", _other_name(place.name)
        ) from None
    is_quorum = arguments.get("x-queue-type") == "quorum" or "x-delivery-limit" in arguments
    return Found(arguments, marked, drops(arguments, "quorum" if is_quorum else None))


async def _declare_or_adopt(
    connection: Connection, queue: str, likely: Sequence[Arguments], check: Callable[[Mismatch], None]
) -> Arguments:
    """Returns the arguments that the broker agreed to, as far as it told."""
    arguments, *others = likely
    for _ in range(_MOST_ARGUMENTS):
        try:
            await declare(connection, queue, arguments)
            return arguments
        except Lost as lost:
            if lost.code == _REFUSED:
                await _exists(connection, queue)
                return arguments
            if lost.code != _PRECONDITION or not_now(lost.text):
                raise
            mismatch = parse_mismatch(lost.text)
            if mismatch is None:
                raise UnsafeQueue(
                    f"The broker refused to declare queue {queue!r}: {lost.text}", "Use another name (--queue)"
                ) from None
        check(mismatch)
        if not mismatch.understood:
            break
        # The first difference hides the others: take it over and ask again, until none is left. The broker's log gets a
        # line for each, so what is likely comes first.
        fitting = [each for each in others if each.get(mismatch.field) == mismatch.current]
        others = fitting[1:]
        arguments = fitting[0] if fitting else mirror(arguments, mismatch)
    await declare(connection, queue, None)
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
    if place in (returned(place.home), quarantine(place.home)) and mismatch.field == "x-queue-type":
        raise UnsafeQueue(
            f"Queue {place.name!r} is no quorum queue, and does not count how often a task comes back",
            "Delete it when it is empty; it is made anew",
        )
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
        await declare(connection, queue, None)
    except Lost as lost:
        if lost.code == _NOT_FOUND:
            raise AccessRefused(
                f"Queue {queue!r} does not exist and this user may not create it",
                "Ask for it to be created, or for configure permission (rabbitmqctl set_permissions)",
            ) from None
        refuse(lost, f"queue {queue!r}")

"""Queues that are too new: the broker confirms messages for them, but may lose the queue or the messages if it is
killed.

RabbitMQ keeps the names of quorum queues in a file (dets) that it writes up to 3 s late; a queue declared within that
time is empty after a crash. AMQP does not say how old a queue is, so the program that declares it leaves a mark.
"""

from __future__ import annotations

import asyncio

from rqtool.amqp.connection import Connection, either
from rqtool.amqp.errors import ACCESS_REFUSED, PRECONDITION_FAILED, Lost
from rqtool.amqp.message import Envelope, Sealer
from rqtool.amqp.publisher import Publisher
from rqtool.amqp.window import Settled
from rqtool.topology import LONGEST_NAME, Arguments, new_marker

NEW_SECONDS = 4.0
"""How old a queue must be before what it holds survives a SIGKILL of the broker."""
STILL_NEW = f"the queue is new; in {NEW_SECONDS:.0f} s it survives a crash of the broker"
"""For users who wait at a terminal."""
PROBE_SECONDS = 3.0


async def mark_as_new(connection: Connection, home: str) -> bool:
    """Tell other rqtool processes that a queue is about to be declared. The mark expires by itself, counted from its
    last declaration: a quorum queue, which may be the vhost's default, would count from its first. Returns False if
    this user may not declare it.
    """
    arguments: Arguments = {"x-queue-type": "classic", "x-expires": round(NEW_SECONDS * 1000)}
    if len(new_marker(home).encode()) > LONGEST_NAME:
        return False
    try:
        await connection.declare(new_marker(home), arguments)
    except Lost as lost:
        if lost.code not in (ACCESS_REFUSED, PRECONDITION_FAILED):
            raise
        return False
    return True


async def is_marked_as_new(connection: Connection, home: str) -> bool:
    """Whether the mark exists. Raises Lost. Publishes a message to it and sees whether the broker returns it, because
    the broker logs an error for each passive declare of a missing queue.
    """
    marker = new_marker(home)
    if len(marker.encode()) > LONGEST_NAME:
        return False
    answer: asyncio.Future[Settled] = asyncio.get_running_loop().create_future()
    publisher = await Publisher.open(connection, "confirm", answer.set_result)
    publisher.publish(marker, Sealer(Envelope(transient=True)).seal(0, b""))
    publisher.flush()
    try:
        await either(answer, publisher.lost, PROBE_SECONDS)
        if answer.done():
            return not answer.result().returned
        if publisher.lost.done() and publisher.lost.result().code != ACCESS_REFUSED:
            raise publisher.lost.result()
        # In an alarm connection.blocked follows; a user who may not write sends nothing to a new queue either.
        return False
    finally:
        publisher.close()

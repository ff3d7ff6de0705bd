"""rqtool, but it is killed at one step of storing a copy: `python -m tests.dying_worker STEP ARGUMENT...`.

The real program on a real broker, ended by a real SIGKILL; only the moment is chosen.

publish   before the copy is published
ack       when the copy is confirmed, before the original is acknowledged
end       when the original is acknowledged
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from rqtool.amqp.consumer import Delivery
from rqtool.amqp.republisher import Republisher
from rqtool.amqp.window import Message
from rqtool.cli.main import main
from rqtool.topology import Destination

STEPS = ("publish", "ack", "end")
WRITTEN_AFTER = 0.2
"""Seconds in which an ack leaves the process."""

deliver = Republisher.deliver
ack = Delivery.ack


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def deliver_and_die(self: Republisher, place: Destination, message: Message) -> None:
    if step == "publish":
        die()
    await deliver(self, place, message)
    if step == "ack":
        die()


def ack_and_die(self: Delivery) -> bool:
    told = ack(self)
    if step == "end":
        asyncio.get_running_loop().call_later(WRITTEN_AFTER, die)
    return told


if __name__ == "__main__":
    step = sys.argv.pop(1)
    assert step in STEPS
    Republisher.deliver = deliver_and_die  # type: ignore[method-assign]
    Delivery.ack = ack_and_die  # type: ignore[method-assign]
    sys.exit(main())

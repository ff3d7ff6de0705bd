"""dramatiq's broker and actor. `python -m bench.peers.dramatiq_app QUEUE FILE COUNT` sends the file's first lines.

The queue is dramatiq's own, since it declares it with arguments. The clock runs from the connection's beginning to the
last confirm.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from bench import bodies
from bench.peers.clock import clock
from bench.stamps import tick

QUEUE = "bench-dramatiq"

broker = RabbitmqBroker(url=os.environ["RQTOOL_URL"], confirm_delivery=True)
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name=QUEUE)
def nothing(body: str) -> None:  # noqa: ARG001
    tick()


def main(_: str, file: str, count: str) -> None:
    tasks = [body.decode() for body in bodies.read(Path(file), int(count))]
    with clock():
        for task in tasks:
            nothing.send(task)
    broker.close()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""celery's app and task. `python -m bench.peers.celery_app QUEUE FILE COUNT` sends the file's first lines.

The clock runs from the connection's beginning to the last confirm.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from celery import Celery
from kombu import Exchange, Queue

from bench import bodies
from bench.peers.clock import clock
from bench.stamps import tick

QUEUE = "bench-celery"

app = Celery("bench", broker=os.environ["RQTOOL_URL"])
app.conf.update(
    broker_transport_options={"confirm_publish": True},
    task_acks_late=True,
    task_ignore_result=True,
    task_queues=[Queue(QUEUE, Exchange(""), routing_key=QUEUE)],
    task_default_queue=QUEUE,
    worker_prefetch_multiplier=int(os.environ.get("BENCH_PREFETCH", "4")),
)


@app.task(name="bench.nothing")
def nothing(body: str) -> None:  # noqa: ARG001
    tick()


def main(_: str, file: str, count: str) -> None:
    tasks = [body.decode() for body in bodies.read(Path(file), int(count))]
    with clock():
        for task in tasks:
            nothing.delay(task)


if __name__ == "__main__":
    main(*sys.argv[1:])

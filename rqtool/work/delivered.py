"""A delivery as the work sees it, and as it is stored when that has failed."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime

from rqtool.amqp import headers, topology
from rqtool.amqp.consumer import Delivery
from rqtool.run.outcome import Outcome, why
from rqtool.run.task import Task
from rqtool.work.poison import Source, Step, next_step


def source_of(queue: str, delivery: Delivery) -> Source:
    """Which of the queues of `queue` a delivery came from."""
    if delivery.queue == queue:
        return Source.MAIN
    return Source.RETURNED if delivery.queue == f"{queue}{topology.RETURNED}" else Source.QUARANTINE


def step_of(queue: str, delivery: Delivery) -> Step:
    """What is to be done with a delivery."""
    if delivery.queue == queue and not delivery.headers:  # nearly all of them
        return Step.TO_RETURNED if delivery.redelivered else Step.RUN
    return next_step(
        source_of(queue, delivery),
        redelivered=delivery.redelivered,
        returns=headers.count(delivery.headers, "x-delivery-count"),
        starts=headers.count(delivery.headers, headers.STARTS),
    )


def task_of(queue: str, delivery: Delivery) -> Task:
    """What the work sees of a delivery."""
    shown = headers.of_the_sender(delivery.headers) if delivery.headers else {}
    return Task(
        body=delivery.body,
        queue=queue,
        message_id=delivery.message_id or "",
        attempt=headers.count(delivery.headers, headers.ATTEMPTS) + 1,
        redelivered=delivery.redelivered or delivery.queue != queue,
        headers={name: headers.text(shown, name) for name in shown},
    )


def failed_headers(delivery: Delivery, outcome: Outcome, attempts: int) -> dict[str, object]:
    """The headers of the copy of a task that failed here and now, for the `attempts`th time."""
    detail = getattr(outcome, "detail", "")
    return headers.failed(
        delivery.headers,
        attempts=attempts,
        error=f"{why(outcome)}\n{detail}".strip(),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        worker=f"{socket.gethostname()}:{os.getpid()}",
    )

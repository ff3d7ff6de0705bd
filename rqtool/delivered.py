"""A delivery as the work sees it, and as it is stored when that has failed."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime

from rqtool import headers
from rqtool.broker.consumer import Delivery
from rqtool.outcomes import Outcome, why
from rqtool.suspects import is_suspect
from rqtool.task import Task


def task_of(queue: str, delivery: Delivery) -> Task:
    """What the handler sees of a delivery."""
    shown = headers.of_the_sender(delivery.headers)
    return Task(
        body=delivery.body,
        queue=queue,
        message_id=delivery.message_id or "",
        attempt=headers.count(delivery.headers, headers.ATTEMPTS) + 1,
        redelivered=is_suspect(delivery),
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

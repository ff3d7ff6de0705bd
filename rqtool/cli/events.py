"""What a worker prints of its tasks."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from rqtool.cli.output import complain, emit
from rqtool.handlers import Task
from rqtool.text import quoted


class Lines:
    """The tutorial's lines on stdout; failures are talk and go to stderr."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet

    def received(self, task: Task) -> None:
        if not self._quiet:
            emit(f" [x] Received {quoted(task.body)}")

    def done(self, task: Task) -> None:  # noqa: ARG002
        if not self._quiet:
            emit(" [x] Done")

    def failed(self, task: Task, why: str) -> None:
        complain(f"{quoted(task.body)} failed ({why}) and goes back to the queue")


class JsonEvents:
    """A JSON object per event and line: `event`, `time` (UTC), `id`, `attempt`, `redelivered`; `why` of a failure."""

    def received(self, task: Task) -> None:
        self._emit("received", task)

    def done(self, task: Task) -> None:
        self._emit("done", task)

    def failed(self, task: Task, why: str) -> None:
        self._emit("failed", task, why=why)

    def _emit(self, event: str, task: Task, **more: str) -> None:
        row = {
            "event": event,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "id": task.message_id,
            "attempt": task.attempt,
            "redelivered": task.redelivered,
        }
        emit(json.dumps(row | more))

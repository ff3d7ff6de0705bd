"""What a worker prints of its tasks."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

from rqtool.cli.output import complain, emit
from rqtool.outcomes import Outcome, Postponed, why
from rqtool.task import Task
from rqtool.text import quoted


class Lines:
    """The tutorial's lines on stdout; failures are talk and go to stderr, `say` has what --quiet leaves out."""

    def __init__(self, *, quiet: bool, say: Callable[[str], None]) -> None:
        self._quiet = quiet
        self._say = say

    def received(self, task: Task) -> None:
        if not self._quiet:
            emit(f" [x] Received {quoted(task.body)}")

    def redelivered(self, task: Task, *, in_hand: bool) -> None:
        if in_hand:
            self._say(f"{quoted(task.body)} came again while it was in hand: it is not done twice")

    def done(self, task: Task, seconds: float) -> None:  # noqa: ARG002
        if not self._quiet:
            emit(" [x] Done")

    def failed(self, task: Task, outcome: Outcome, seconds: float) -> None:
        """Say nothing yet: what becomes of the task is said with it."""

    def retry(self, task: Task, outcome: Outcome, seconds: float, delay: str) -> None:  # noqa: ARG002
        happened = "asks for another attempt" if isinstance(outcome, Postponed) else "failed"
        complain(f"{quoted(task.body)} {happened} ({why(outcome)}); attempt {task.attempt + 1} follows in {delay}")

    def dead(self, task: Task, outcome: Outcome, seconds: float, queue: str) -> None:  # noqa: ARG002
        complain(f"{quoted(task.body)} was given up at attempt {task.attempt} ({why(outcome)}) and is in {queue!r}")

    def connection_lost(self, reason: str) -> None:
        self._say(f"connection lost: {reason}; trying again")

    def connection_back(self, url: str) -> None:
        self._say(f"connected again, to {url}")


class JsonEvents:
    """A JSON object per event and line. Each has `event` and `time` (UTC); those of a task have `id`, `attempt` and
    `redelivered`; those of an attempt that ended `seconds`, `exit_code` (null where there was no command), and `why` it
    was not done; `delay`, `queue`, `in_hand` and `url` where they apply.
    """

    def __init__(self, *, say: Callable[[str], None]) -> None:
        self._say = say

    def received(self, task: Task) -> None:
        _emit("received", task)

    def redelivered(self, task: Task, *, in_hand: bool) -> None:
        _emit("redelivered", task, in_hand=in_hand)

    def done(self, task: Task, seconds: float) -> None:
        _emit("done", task, seconds=round(seconds, 3), exit_code=0)

    def failed(self, task: Task, outcome: Outcome, seconds: float) -> None:
        _emit("failed", task, **_ended(outcome, seconds))

    def retry(self, task: Task, outcome: Outcome, seconds: float, delay: str) -> None:
        _emit("retry", task, **_ended(outcome, seconds), delay=delay)

    def dead(self, task: Task, outcome: Outcome, seconds: float, queue: str) -> None:
        _emit("dead", task, **_ended(outcome, seconds), queue=queue)

    def connection_lost(self, reason: str) -> None:
        self._say(f"connection lost: {reason}; trying again")
        _emit("connection_lost", None, why=reason)

    def connection_back(self, url: str) -> None:
        self._say(f"connected again, to {url}")
        _emit("connection_back", None, url=url)


def _ended(outcome: Outcome, seconds: float) -> dict[str, object]:
    return {"seconds": round(seconds, 3), "exit_code": getattr(outcome, "exit_code", None), "why": why(outcome)}


def _emit(event: str, task: Task | None, **more: object) -> None:
    row: dict[str, object] = {"event": event, "time": datetime.now(UTC).isoformat(timespec="milliseconds")}
    if task is not None:
        row |= {"id": task.message_id, "attempt": task.attempt, "redelivered": task.redelivered}
    emit(json.dumps(row | more))

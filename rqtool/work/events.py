"""What a worker prints of its tasks."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

from rqtool.run.outcome import Done, Outcome, Postponed, why
from rqtool.run.task import Task
from rqtool.text import quoted
from rqtool.work.output import WorkerOutput


class Lines:
    """The tutorial's lines on stdout; failures are talk and go to stderr."""

    def __init__(self, out: WorkerOutput, *, quiet: bool) -> None:
        self._out = out
        self._quiet = quiet

    def received(self, task: Task) -> None:
        if not self._quiet:
            self._out.emit(f" [x] Received {quoted(task.body)}")

    def redelivered(self, task: Callable[[], Task], *, in_hand: bool) -> None:
        if in_hand:
            self._out.say(f"{quoted(task().body)} came again while it was in hand: it is not done twice")

    def done(self, task: Task, outcome: Done, seconds: float) -> None:  # noqa: ARG002
        if not self._quiet:
            self._out.emit(" [x] Done")

    def failed(self, task: Task, outcome: Outcome, seconds: float) -> None:
        """Say nothing yet: what becomes of the task is said with it."""

    def retry(self, task: Task, outcome: Outcome, seconds: float, delay: str) -> None:  # noqa: ARG002
        happened = "asks for another attempt" if isinstance(outcome, Postponed) else "failed"
        self._out.complain(
            f"{quoted(task.body)} {happened} ({why(outcome)}); attempt {task.attempt + 1} follows in {delay}"
        )

    def dead(self, task: Task, outcome: Outcome, seconds: float, queue: str) -> None:  # noqa: ARG002
        self._out.complain(
            f"{quoted(task.body)} was given up at attempt {task.attempt} ({why(outcome)}) and is in {queue!r}"
        )

    def shortage(self, why: str) -> None:
        self._out.complain(shortage(why))

    def connection_lost(self, reason: str) -> None:
        self._out.say(f"connection lost: {reason}; trying again")

    def connection_back(self, url: str) -> None:
        self._out.say(f"connected again, to {url}")


class JsonEvents:
    """A JSON object per event and line. Each has `event` and `time` (UTC); those of a task have `id`, `attempt` and
    `redelivered`; those of an attempt that ended `seconds`, `exit_code` (null where there was no command), and `why` it
    was not done; `delay`, `queue`, `in_hand` and `url` where they apply.
    """

    def __init__(self, out: WorkerOutput) -> None:
        self._out = out

    def received(self, task: Task) -> None:
        self._emit("received", task)

    def redelivered(self, task: Callable[[], Task], *, in_hand: bool) -> None:
        self._emit("redelivered", task(), in_hand=in_hand)

    def done(self, task: Task, outcome: Done, seconds: float) -> None:
        self._emit("done", task, seconds=round(seconds, 3), exit_code=outcome.exit_code)

    def failed(self, task: Task, outcome: Outcome, seconds: float) -> None:
        self._emit("failed", task, **_ended(outcome, seconds))

    def retry(self, task: Task, outcome: Outcome, seconds: float, delay: str) -> None:
        self._emit("retry", task, **_ended(outcome, seconds), delay=delay)

    def dead(self, task: Task, outcome: Outcome, seconds: float, queue: str) -> None:
        self._emit("dead", task, **_ended(outcome, seconds), queue=queue)

    def shortage(self, why: str) -> None:
        self._out.complain(shortage(why))
        self._emit("shortage", None, why=why)

    def connection_lost(self, reason: str) -> None:
        self._out.say(f"connection lost: {reason}; trying again")
        self._emit("connection_lost", None, why=reason)

    def connection_back(self, url: str) -> None:
        self._out.say(f"connected again, to {url}")
        self._emit("connection_back", None, url=url)

    def _emit(self, event: str, task: Task | None, **more: object) -> None:
        row: dict[str, object] = {"event": event, "time": datetime.now(UTC).isoformat(timespec="milliseconds")}
        if task is not None:
            row |= {"id": task.message_id, "attempt": task.attempt, "redelivered": task.redelivered}
        self._out.emit(json.dumps(row | more))


def _ended(outcome: Outcome, seconds: float) -> dict[str, object]:
    return {"seconds": round(seconds, 3), "exit_code": getattr(outcome, "exit_code", None), "why": why(outcome)}


def shortage(why: str) -> str:
    return f"no task can be started here for now ({why}); trying again"

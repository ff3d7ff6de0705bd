"""What a worker prints about its tasks and its connection: for people, or as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from rqtool.durations import format_duration
from rqtool.run.outcome import Outcome, Postponed, why
from rqtool.run.task import Task
from rqtool.text import quoted, start_of
from rqtool.work.job import Job, Result
from rqtool.work.report.job_log import JobLog
from rqtool.work.report.output import WorkerOutput


class Events:
    """The tutorial's lines on stdout; failures go to stderr. Times are in seconds.

    An output that can't be written raises nothing here: see `WorkerOutput.error`.
    """

    def __init__(self, out: WorkerOutput, *, quiet: bool = False) -> None:
        self.out = out
        self.say, self.complain = out.say, out.complain
        self.job_log: JobLog | None = None
        self._quiet = quiet
        self._said: set[str] = set()

    def say_once(self, text: str, topic: str = "") -> None:
        """Say it unless something was already said on this topic; without a topic, unless the same was said."""
        if (topic or text) not in self._said:
            self._said.add(topic or text)
            self.say(text)

    def received(self, task: Task) -> None:
        if not self._quiet:
            self.out.emit(f" [x] Received {quoted(task.body)}")

    def redelivered(self, task: Task, *, in_hand: bool) -> None:
        """The task was delivered before; `in_hand`: it, or its result, is here, so it does not run again."""
        if in_hand:
            self.say(f"{quoted(task.body)} came again while it was in hand: it is not done twice")

    def done(self, task: Task, outcome: Outcome, seconds: float) -> None:  # noqa: ARG002
        if not self._quiet:
            self.out.emit(f" [x] Done {quoted(task.body)}")

    def ended(self, job: Job, outcome: Outcome, seconds: float) -> None:
        """An attempt has ended. Raises RqtoolError if the job log can't be written."""
        if self.job_log is not None:
            self.job_log.add(job, outcome, seconds)

    def failed(self, task: Task, outcome: Outcome, seconds: float) -> None:
        """The attempt failed. Lines for people are printed only when the task's fate is known."""

    def retry(self, end: Result) -> None:
        happened = "asks for another attempt" if isinstance(end.outcome, Postponed) else "failed"
        then = f"attempt {end.task.attempt + 1} follows in {end.delay}"
        self.complain(f"{quoted(end.task.body)} {happened} ({why(end.outcome)}); {then}")

    def dead(self, end: Result) -> None:
        attempt = f"{end.task.attempt} ({why(end.outcome)})"
        self.complain(f"{quoted(end.task.body)} was given up at attempt {attempt} and is in {end.place.name!r}")

    def cut_off(self, task: Task, outcome: Outcome) -> None:
        """What stops the worker has ended the task's command or function too."""
        self.say(f"{quoted(task.body)} was stopped too ({why(outcome)}): it goes back to the queue")

    def shortage(self, why: str) -> None:
        """No task can begin here for now."""
        self.complain(f"no task can be started here for now ({why}); trying again")

    def braked(self, in_a_row: int, why: str, longest: float) -> None:
        """Attempts keep failing: from now on one at a time begins, with pauses of up to `longest`."""
        then = f"one at a time from now on, with pauses of up to {format_duration(longest)}, until one succeeds"
        then += " (--no-brake stays at full speed)"
        self.say(f"{in_a_row} attempts failed in a row (the last one: {why}); {then}")

    def released(self) -> None:
        self.say("an attempt succeeded: full speed again")

    def connection_lost(self, reason: str) -> None:
        self.say(f"connection lost: {reason}; trying again")

    def connection_back(self, url: str) -> None:
        self.say(f"connected again, to {url}")


class JsonEvents(Events):
    """A JSON object per event and line. Each has `event` and `time` (UTC); those of a task have `id`, `task` (the start
    of its body), `attempt` and `redelivered`; those of an attempt that ended `seconds`, `exit_code` (null where there
    was no command), and `why` it was not done; `delay`, `queue`, `in_hand` and `url` where they apply.
    """

    def received(self, task: Task) -> None:
        self._emit("received", task)

    def redelivered(self, task: Task, *, in_hand: bool) -> None:
        self._emit("redelivered", task, redelivered=True, in_hand=in_hand)

    def done(self, task: Task, outcome: Outcome, seconds: float) -> None:
        ended = _ended(outcome, seconds)
        self._emit("done", task, seconds=ended["seconds"], exit_code=ended["exit_code"])

    def failed(self, task: Task, outcome: Outcome, seconds: float) -> None:
        self._emit("failed", task, **_ended(outcome, seconds))

    def retry(self, end: Result) -> None:
        self._emit("retry", end.task, **_ended(end.outcome, end.seconds), delay=end.delay)

    def dead(self, end: Result) -> None:
        self._emit("dead", end.task, **_ended(end.outcome, end.seconds), queue=end.place.name)

    def shortage(self, why: str) -> None:
        super().shortage(why)
        self._emit("shortage", None, why=why)

    def braked(self, in_a_row: int, why: str, longest: float) -> None:
        super().braked(in_a_row, why, longest)
        self._emit("braked", None, why=why)

    def released(self) -> None:
        super().released()
        self._emit("released", None)

    def connection_lost(self, reason: str) -> None:
        super().connection_lost(reason)
        self._emit("connection_lost", None, why=reason)

    def connection_back(self, url: str) -> None:
        super().connection_back(url)
        self._emit("connection_back", None, url=url)

    def _emit(self, event: str, task: Task | None, **more: object) -> None:
        row: dict[str, object] = {"event": event, "time": datetime.now(UTC).isoformat(timespec="milliseconds")}
        if task is not None:
            row |= {"id": task.message_id, "task": start_of(task.body)}
            row |= {"attempt": task.attempt, "redelivered": task.redelivered}
        self.out.emit(json.dumps(row | more))


def _ended(outcome: Outcome, seconds: float) -> dict[str, object]:
    return {"seconds": round(seconds, 3), "exit_code": getattr(outcome, "exit_code", None), "why": why(outcome)}

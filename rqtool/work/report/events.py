"""What a worker prints about its tasks and its connection: for people, or as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from rqtool.durations import format_duration
from rqtool.run.outcome import Done, Outcome, Postponed, why
from rqtool.run.task import Task
from rqtool.text import quoted, start_of
from rqtool.work.job import Job, Result
from rqtool.work.report.job_log import JobLog
from rqtool.work.report.output import WorkerOutput


class Events:
    """The tutorial's lines on stdout, failures on stderr; or, with `as_json`, an object per event and line. Each has
    `event` and `time` (UTC); those of a task have `id`, `task` (the start of its body), `attempt` and `redelivered`;
    those of an attempt that ended `seconds`, `exit_code` (null where there was no command), and `why` it was not done;
    `delay`, `queue`, `in_hand` and `url` where they apply. Times are in seconds.

    An output that can't be written raises nothing here: see `WorkerOutput.error`.
    """

    def __init__(self, out: WorkerOutput, *, quiet: bool = False, as_json: bool = False) -> None:
        self.out = out
        self.say, self.complain = out.say, out.complain
        self.job_log: JobLog | None = None
        self._quiet = quiet
        self._as_json = as_json
        self._said: set[str] = set()

    def say_once(self, text: str, topic: str = "") -> None:
        """Say it unless something was already said on this topic; without a topic, unless the same was said."""
        if (topic or text) not in self._said:
            self._said.add(topic or text)
            self.say(text)

    def received(self, task: Task) -> None:
        if not (self._object("received", task) or self._quiet):
            self.out.emit(f" [x] Received {quoted(task.body)}")

    def redelivered(self, task: Task, *, in_hand: bool) -> None:
        """The task was delivered before; `in_hand`: it, or its result, is here, so it does not run again."""
        if not self._object("redelivered", task, redelivered=True, in_hand=in_hand) and in_hand:
            self.say(f"{quoted(task.body)} came again while it was in hand: it is not done twice")

    def done(self, task: Task, outcome: Outcome, seconds: float) -> None:
        if not (self._object("done", task, outcome, seconds) or self._quiet):
            self.out.emit(f" [x] Done {quoted(task.body)}")

    def ended(self, job: Job, outcome: Outcome, seconds: float) -> None:
        """An attempt has ended. Raises RqtoolError if the job log can't be written."""
        if self.job_log is not None:
            self.job_log.add(job, outcome, seconds)

    def failed(self, task: Task, outcome: Outcome, seconds: float) -> None:
        """The attempt failed. Lines for people are printed only when the task's fate is known."""
        self._object("failed", task, outcome, seconds)

    def retry(self, end: Result) -> None:
        if not self._object("retry", end.task, end.outcome, end.seconds, delay=end.delay):
            happened = "asks for another attempt" if isinstance(end.outcome, Postponed) else "failed"
            then = f"attempt {end.task.attempt + 1} follows in {end.delay}"
            self.complain(f"{quoted(end.task.body)} {happened} ({why(end.outcome)}); {then}")

    def dead(self, end: Result) -> None:
        if not self._object("dead", end.task, end.outcome, end.seconds, queue=end.place.name):
            attempt = f"{end.task.attempt} ({why(end.outcome)})"
            self.complain(f"{quoted(end.task.body)} was given up at attempt {attempt} and is in {end.place.name!r}")

    def cut_off(self, task: Task, outcome: Outcome) -> None:
        """What stops the worker has ended the task's command or function too."""
        self.say(f"{quoted(task.body)} was stopped too ({why(outcome)}): it goes back to the queue")

    def shortage(self, why: str) -> None:
        """No task can begin here for now."""
        self.complain(f"no task can be started here for now ({why}); trying again")
        self._object("shortage", why=why)

    def braked(self, in_a_row: int, why: str, longest: float) -> None:
        """Attempts keep failing: from now on one at a time begins, with pauses of up to `longest`."""
        then = f"one at a time from now on, with pauses of up to {format_duration(longest)}, until one succeeds"
        then += " (--no-brake stays at full speed)"
        self.say(f"{in_a_row} attempts failed in a row (the last one: {why}); {then}")
        self._object("braked", why=why)

    def released(self) -> None:
        self.say("an attempt succeeded: full speed again")
        self._object("released")

    def connection_lost(self, reason: str) -> None:
        self.say(f"connection lost: {reason}; trying again")
        self._object("connection_lost", why=reason)

    def connection_back(self, url: str) -> None:
        self.say(f"connected again, to {url}")
        self._object("connection_back", url=url)

    def _object(
        self, event: str, task: Task | None = None, outcome: Outcome | None = None, seconds: float = 0.0, **more: object
    ) -> bool:
        """Print an object, if that is wanted. Returns whether it is."""
        if not self._as_json:
            return False
        row: dict[str, object] = {"event": event, "time": datetime.now(UTC).isoformat(timespec="milliseconds")}
        if task is not None:
            row |= {"id": task.message_id, "task": start_of(task.body)}
            row |= {"attempt": task.attempt, "redelivered": task.redelivered}
        if outcome is not None:
            row |= {"seconds": round(seconds, 3), "exit_code": getattr(outcome, "exit_code", None)}
            row |= {} if isinstance(outcome, Done) else {"why": why(outcome)}
        self.out.emit(json.dumps(row | more))
        return True

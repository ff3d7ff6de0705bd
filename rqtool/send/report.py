"""How a run of `send` ended: as a line, as JSON, as an error with its exit code. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from rqtool.amqp.window import Message
from rqtool.errors import RqtoolError
from rqtool.send.outbox import Refusal
from rqtool.text import plural, quoted, start_of


@dataclass(frozen=True, slots=True)
class Report:
    """`problem` is None if every task of the input was confirmed (guarantee none: read by the broker).

    `resume_at` tasks from the start were confirmed or skipped; `unconfirmed` counts those that were read and not
    confirmed; `killed_by` is the signal that ended the run, 0 for none; `complete`: the input was read to its end;
    `queue_gone`: the queue was deleted after some tasks were confirmed.
    """

    queue: str
    guarantee: str
    confirmed: int
    unconfirmed: int
    resume_at: int
    refused: list[Refusal]
    problem: str | None
    killed_by: int
    complete: bool
    queue_gone: bool
    seconds: float

    @property
    def exit_code(self) -> int:
        """0; 1 if a task is not confirmed; 128 + signal after a second signal."""
        if self.problem is None:
            return 0
        return 128 + self.killed_by if self.killed_by else RqtoolError.exit_code

    def line(self) -> str:
        how = "not confirmed: --guarantee none" if self.guarantee == "none" else "all confirmed"
        rate = f", {self.confirmed / self.seconds:,.0f}/s" if self.seconds > 1 else ""
        sent = f"Sent {plural(self.confirmed, 'task')} to {self.queue!r}"
        return f" [x] {sent} ({how if self.problem is None else 'not all'}{rate})"

    def error(self, unsent: Path | None, form: str = "") -> RqtoolError | None:
        """What went wrong, and how to send the rest, which is in `unsent` if that was written. `form`: the option with
        which to read it, after a space.
        """
        if self.problem is None:
            return None
        verb = "sent" if self.guarantee == "none" else "confirmed"
        what = f"{self.problem}; {plural(self.confirmed, 'task')} {verb}"
        if self.unconfirmed:
            what += f", {self.unconfirmed:,} not" + ("" if self.complete else ", and there is more input")
        if self.queue_gone:
            what_to_do = "The queue took confirmed tasks with it. Send all again; those already done will be done twice"
        elif unsent is not None:
            what_to_do = f"The rest is in {unsent}: send it with --from {unsent}{form}"
        elif self.complete and len(self.refused) == self.unconfirmed > 0:
            what_to_do = "Fix the refused tasks and send them again"
        else:
            what_to_do = f"Tasks from {self.resume_at + 1:,} on may be unconfirmed; resume with --skip {self.resume_at}"
        return RqtoolError(what, what_to_do)

    def json(self) -> str:
        return json.dumps(
            {
                "queue": self.queue,
                "guarantee": self.guarantee,
                "sent": self.confirmed,
                "confirmed": 0 if self.guarantee == "none" else self.confirmed,
                "unconfirmed": self.unconfirmed,
                "resume_at": self.resume_at,
                "refused": [{"task": r.message.position + 1, "why": r.why} for r in self.refused],
                "problem": self.problem,
                "seconds": round(self.seconds, 3),
            }
        )


def sent_line(message: Message) -> str:
    return f" [x] Sent {quoted(message.body)}"


def json_line(message: Message) -> str:
    """The same `id` and `task` as in a worker's events about it."""
    return json.dumps({"id": message.token, "task": start_of(message.body)})


def why_incomplete(refused: list[Refusal], error: Exception | None, *, ended: bool) -> str | None:
    """Why not every task was sent; None if all were. `error`: why the input could not be read to its end."""
    if refused:
        first = refused[0]
        return f"task {first.message.position + 1:,} was not taken: {first.why}"
    if error is not None:
        why = error.what if isinstance(error, RqtoolError) else getattr(error, "strerror", None) or error
        return f"the input can't be read any further: {why}"
    return None if ended else "stopped before the end of the input"

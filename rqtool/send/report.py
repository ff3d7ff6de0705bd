"""How a run of `send` ended, and how that is told: as a line, as JSON, as an error with its exit code. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from rqtool.errors import RqtoolError
from rqtool.send.ledger import Refusal
from rqtool.text import plural


@dataclass(frozen=True, slots=True)
class Report:
    """How it ended. `problem` is None where every task of the input is confirmed (guarantee none: read by the broker).

    `resume_at` tasks from the start are confirmed or were skipped; `unconfirmed` counts what was read and is not;
    `killed_by` is the signal that ended it, 0 for none; `complete`: the input was read to its end; `queue_gone`: the
    queue was deleted after some tasks were confirmed.
    """

    confirmed: int
    unconfirmed: int
    resume_at: int
    refused: list[Refusal]
    problem: str | None
    killed_by: int
    complete: bool
    seconds: float
    queue_gone: bool = False


@dataclass(frozen=True, slots=True)
class Summary:
    """`error` is None where every task was sent."""

    line: str
    json: str
    error: RqtoolError | None
    exit_code: int


def why_incomplete(refused: list[Refusal], error: Exception | None, *, ended: bool) -> str | None:
    """Why not every task of the input was sent; None where each was. `error`: why the input can't be read further."""
    if refused:
        first = refused[0]
        return f"task {first.message.position + 1:,} was not taken: {first.why}"
    if error is not None:
        return f"the input can't be read any further: {error.what if isinstance(error, RqtoolError) else error}"
    return None if ended else "stopped before the end of the input"


def summary(report: Report, queue: str, guarantee: str, unsent: Path | None) -> Summary:
    """Exit codes: 0, 1 where a task is not confirmed, 128 + signal after a second signal."""
    sent = plural(report.confirmed, "task")
    how = "not confirmed: --guarantee none" if guarantee == "none" else "all confirmed"
    rate = f", {report.confirmed / report.seconds:,.0f}/s" if report.seconds > 1 else ""
    line = f" [x] Sent {sent} to {queue!r} ({how if report.problem is None else 'not all'}{rate})"
    error = None
    code = 0
    if report.problem is not None:
        error = RqtoolError(_what(report, guarantee), _what_to_do(report, unsent))
        code = 128 + report.killed_by if report.killed_by else error.exit_code
    return Summary(line, _json(report, queue, guarantee), error, code)


def _what(report: Report, guarantee: str) -> str:
    verb = "sent" if guarantee == "none" else "confirmed"
    text = f"{report.problem}; {plural(report.confirmed, 'task')} {verb}"
    if report.unconfirmed:
        text += f", {report.unconfirmed:,} not" + ("" if report.complete else ", and there is more input")
    return text


def _what_to_do(report: Report, unsent: Path | None) -> str:
    if report.queue_gone:
        return "Confirmed tasks went with the queue: send all again; what was done already will be done twice"
    if unsent is not None:
        return f"The rest is in {unsent}: send it with --from {unsent}"
    if report.complete and len(report.refused) == report.unconfirmed > 0:
        return "Mend what was refused and send it again"
    return f"Nothing is sure from task {report.resume_at + 1:,} on: continue with --skip {report.resume_at}"


def _json(report: Report, queue: str, guarantee: str) -> str:
    return json.dumps(
        {
            "queue": queue,
            "guarantee": guarantee,
            "sent": report.confirmed,
            "confirmed": 0 if guarantee == "none" else report.confirmed,
            "unconfirmed": report.unconfirmed,
            "resume_at": report.resume_at,
            "refused": [{"task": r.message.position + 1, "why": r.why} for r in report.refused],
            "problem": report.problem,
            "seconds": round(report.seconds, 3),
        }
    )

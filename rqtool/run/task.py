"""What a task's own code sees: the task, and two verdicts that it can raise. Pure; users import it from `rqtool`."""

from __future__ import annotations

from dataclasses import dataclass, field

from rqtool.durations import parse_duration


@dataclass(frozen=True, slots=True)
class Task:
    """One delivery. `attempt` counts from 1; `redelivered`: it was delivered before, and not acknowledged."""

    body: bytes
    queue: str
    message_id: str
    attempt: int
    redelivered: bool
    headers: dict[str, str] = field(default_factory=dict)


class Retry(Exception):
    """Raise it to have the task tried again: it counts as an attempt, and after the last one the task is dead.

    `delay`: seconds, or a text such as "10s", at most 720 hours; None: what `--retry-delays` says. Raises UsageError
    for a text that is no duration.
    """

    def __init__(self, delay: float | str | None = None, reason: str = "") -> None:
        super().__init__(delay, reason)
        self.delay = parse_duration(delay) if isinstance(delay, str) else delay
        self.reason = reason


class Reject(Exception):
    """Raise it to give the task up at once: it goes to the dead queue, with the reason."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason

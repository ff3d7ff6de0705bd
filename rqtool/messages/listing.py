"""Dead tasks, read from their messages, as tab-separated lines and as JSON. Pure."""

from __future__ import annotations

import codecs
import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rqtool.amqp import headers
from rqtool.text import SHOWN, printable

DEAD_COLUMNS = ("id", "age", "attempts", "worker", "reason", "body")
HEAD = 1_000
"""Bytes of a body that are shown."""
CUT = "…"
"""Stands for what is left out."""
SHORT_ID, _ID_START, _ID_END = 16, 8, 7
"""Characters of an id in a narrow table: the ids of one `rqtool send` differ only at the end."""
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"))


@dataclass(frozen=True, slots=True)
class DeadTask:
    """A task that failed for good; None: unknown. `broker_reason`: why the broker itself dead-lettered it."""

    queue: str
    id: str | None
    failed_at: datetime | None
    attempts: int | None
    worker: str | None
    error: str | None
    broker_reason: str | None
    head: bytes
    body_bytes: int

    @property
    def reason(self) -> str:
        """One line: the worker's reason, then the broker's, which came later."""
        lines = (self.error or "").strip().splitlines()
        broker = [f"given up by the broker: {self.broker_reason}"] if self.broker_reason else []
        return "; ".join(lines[:1] + broker)

    @property
    def why(self) -> str:
        """The reason for a table, with the last line of stderr or of the traceback in it."""
        lines = (self.error or "").strip().splitlines()
        if not lines and self.broker_reason:
            return f"broker: {self.broker_reason}"
        if not lines or lines[-1].endswith(lines[0]):
            return self.reason
        return self.reason.replace(lines[0], f"{lines[0]}: {lines[-1].strip()}", 1)

    @property
    def short_id(self) -> str:
        """The id, or its beginning and its end."""
        name = self.id or ""
        return name if len(name) <= SHORT_ID else f"{name[:_ID_START]}{CUT}{name[-_ID_END:]}"

    @property
    def text(self) -> str | None:
        """The start of the body; None if it is not UTF-8."""
        try:
            return codecs.getincrementaldecoder("utf-8")().decode(self.head, final=self.body_bytes <= len(self.head))
        except UnicodeDecodeError:
            return None

    @property
    def shown(self) -> str:
        """The start of the body, safe to print."""
        text = repr(self.head) if self.text is None else printable(self.text)
        return f"{text}{CUT}" if self.body_bytes > len(self.head) else text

    def seconds(self, now: datetime) -> int | None:
        return seconds_since(self.failed_at, now)

    def age(self, now: datetime) -> str:
        return short_age(self.seconds(now))

    def attempts_shown(self) -> str:
        return "" if self.attempts is None else str(self.attempts)


def seconds_since(time: datetime | None, now: datetime) -> int | None:
    """How long ago it was; never negative, even if the clocks differ."""
    return None if time is None else max(0, int((now - time).total_seconds()))


def short_age(seconds: int | None) -> str:
    """Seconds in one unit, rounded down: `59m`; empty if they are unknown."""
    if seconds is None:
        return ""
    return next((f"{seconds // size}{unit}" for size, unit in _UNITS if seconds >= size), f"{seconds}s")


def task_id(message_id: object, found: headers.Headers) -> str | None:
    """Return its message id, else the token that rqtool gave its copy, else None."""
    return headers.text({"id": message_id}, "id") or headers.text(found, headers.COPY) or None


def read_dead_task(queue: str, message_id: object, timestamp: object, found: headers.Headers, body: bytes) -> DeadTask:
    """Read a message of the dead queue of `queue`. Any program can write headers: nonsense counts as unknown."""
    deaths = found.get("x-death")
    death: dict[str, Any] = next((d for d in deaths if isinstance(d, dict)), {}) if isinstance(deaths, list) else {}
    return DeadTask(
        queue=queue,
        id=task_id(message_id, found),
        failed_at=_from_iso(headers.text(found, headers.FAILED_AT)) or _utc(death.get("time")) or unix_time(timestamp),
        attempts=int(headers.count(found, headers.ATTEMPTS)) or None,
        worker=headers.text(found, headers.WORKER) or None,
        error=headers.text(found, headers.ERROR) or None,
        broker_reason=headers.text(death, "reason") or None,
        head=body[:HEAD],
        body_bytes=len(body),
    )


def dead_as_lines(tasks: Sequence[DeadTask], now: datetime, *, first: bool) -> str:
    """Return a line per task, with `first` after a header line. Unknown fields are empty."""
    lines = ["\t".join(DEAD_COLUMNS)] if first else []
    for task in tasks:
        fields = (task.id or "", task.age(now), task.attempts_shown(), task.worker or "", task.reason[:SHOWN])
        lines.append("\t".join((*map(printable, fields), task.shown)))
    return "".join(f"{line}\n" for line in lines)


def dead_as_json(tasks: Sequence[DeadTask], now: datetime, *, first: bool) -> str:
    """Return part of an array, which the caller closes with `]`: an object per task, each on its own line.

    It has `body` if its start is UTF-8, else `body_base64`.
    """
    objects = (json.dumps(dead_object(task, now)) for task in tasks)
    return ("[" if first else ",\n" if tasks else "") + ",\n".join(objects)


def dead_object(task: DeadTask, now: datetime) -> dict[str, object]:
    body = {"body_base64": b64encode(task.head).decode()} if task.text is None else {"body": task.text}
    return {
        "id": task.id,
        "failed_at": iso(task.failed_at),
        "age_seconds": task.seconds(now),
        "attempts": task.attempts,
        "worker": task.worker,
        "reason": task.reason,
        "error": task.error,
        "queue": task.queue,
        **body,
        "body_bytes": task.body_bytes,
    }


def iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def _from_iso(text: str) -> datetime | None:
    try:
        return _utc(datetime.fromisoformat(text))
    except ValueError:
        return None


def unix_time(timestamp: object) -> datetime | None:
    try:
        return datetime.fromtimestamp(timestamp, UTC) if isinstance(timestamp, int) else None
    except (ValueError, OverflowError, OSError):
        return None


def _utc(time: object) -> datetime | None:
    if not isinstance(time, datetime):
        return None
    try:
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except OverflowError:
        return None

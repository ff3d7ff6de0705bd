"""Everything about one dead task, as text and as JSON. Pure."""

from __future__ import annotations

import json
import re
from base64 import encodebytes
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from rqtool.messages.listing import DeadTask, dead_object, iso
from rqtool.text import printable

_EXIT_CODE = re.compile(r"exit code (\d+)\b")


@dataclass(frozen=True, slots=True)
class Detail:
    """A dead task with its headers and its whole body. `sent_at`: by the sender's clock; None: unknown."""

    task: DeadTask
    sent_at: datetime | None
    headers: Mapping[str, Any]
    body: bytes

    @property
    def whole(self) -> DeadTask:
        """The task with all of its body as its head."""
        return replace(self.task, head=self.body)

    @property
    def exit_code(self) -> int | None:
        match = _EXIT_CODE.match(self.task.error or "")
        return int(match[1]) if match and len(match[1]) < 4 else None

    @property
    def first_failed_at(self) -> datetime | None:
        """Unknown after several attempts: rqtool keeps the time of the last one."""
        return self.task.failed_at if self.task.attempts == 1 else None

    @property
    def stderr(self) -> str:
        """What follows the first line of the error: the end of stderr, or of a traceback."""
        return (self.task.error or "").strip().partition("\n")[2]


def detail_as_json(detail: Detail, now: datetime) -> str:
    """Return an object: the keys of `list`, and more. `body` is whole; `body_base64` if it is not UTF-8."""
    found = dead_object(detail.whole, now) | {
        "sent_at": iso(detail.sent_at),
        "first_failed_at": iso(detail.first_failed_at),
        "exit_code": detail.exit_code,
        "stderr": detail.stderr,
        "headers": _plain(detail.headers),
    }
    return json.dumps(found) + "\n"


def detail_as_text(detail: Detail, now: datetime) -> str:
    """Return a line per field, then the blocks: headers, stderr, body. Control characters are escaped."""
    task = detail.task
    age = f" ({task.age(now)} ago)" if task.failed_at else ""
    fields = {
        "id": task.id,
        "queue": task.queue,
        "attempts": task.attempts_shown(),
        "sent": iso(detail.sent_at),
        "first failed": iso(detail.first_failed_at),
        "last failed": f"{iso(task.failed_at)}{age}" if task.failed_at else None,
        "worker": task.worker,
        "exit code": detail.exit_code,
        "reason": task.reason,
    }
    lines = [f"{name:<13}{printable('' if value is None else str(value))}".rstrip() for name, value in fields.items()]
    shown = {name: json.dumps(value, ensure_ascii=False) for name, value in _plain(detail.headers).items()}
    lines += ["", "headers:", *(f"  {printable(name)}: {printable(value)}" for name, value in shown.items())]
    lines += ["", "stderr:", *_indented(detail.stderr)]
    text, kind = detail.whole.text, ""
    if text is None:
        text, kind = encodebytes(detail.body).decode(), ", base64"
    lines += ["", f"body ({len(detail.body):,} bytes{kind}):", *_indented(text)]
    return "".join(f"{line}\n" for line in lines)


def _indented(text: str) -> list[str]:
    return [f"  {printable(line)}" for line in text.removesuffix("\n").split("\n")] if text else []


def _plain(value: Any) -> Any:
    """Return a header's value in JSON's types: other numbers, times and what can't be decoded become text."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and abs(value) < float("inf")):
        return value
    return str(value)

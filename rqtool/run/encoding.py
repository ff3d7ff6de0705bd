"""What a worker and its runners say to each other: frames of a number and a JSON head. Pure.

Nothing is pickled: a body is whatever somebody put on the queue. A head that says nothing is empty, since most tasks
are a body and most answers are "done".
"""

from __future__ import annotations

import json
import os
import struct
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from rqtool.run.outcome import CannotRun, Done, Failed, Outcome, OutputGone, Postponed, Rejected, Shortage
from rqtool.run.task import Task

PRETENDED = "rqtool.run.pretend:work"
_FRAME = struct.Struct("!QI")
_DONE = Done()
_METADATA = [field.name for field in fields(Task) if field.name != "body"]
_VERDICTS = {kind.__name__: kind for kind in (CannotRun, Done, Failed, OutputGone, Postponed, Rejected, Shortage)}


@dataclass(frozen=True, slots=True)
class Spec:
    """What a runner does: `what` is a command with its arguments, or MODULE:FUNCTION alone; `timeout` in seconds,
    `width` tasks at once.
    """

    kind: Literal["command", "function"]
    what: list[str]
    timeout: float | None
    width: int = 1

    @property
    def runs(self) -> str:
        """What others may know of it, who look at the broker's lists; never the arguments, which can be secret."""
        if self.what == [PRETENDED]:
            return "dots"
        return os.path.basename(self.what[0]) if self.kind == "command" else self.what[0]


def pack_json(about: object) -> bytes:
    return json.dumps(about).encode()


def unpack_json(data: bytes) -> dict[str, Any]:
    return dict(json.loads(data))


def pack_spec(spec: Spec) -> bytes:
    return pack_json(asdict(spec))


def unpack_spec(data: bytes) -> Spec:
    return Spec(**unpack_json(data))


def pack(number: int, head: bytes, body: bytes = b"") -> bytes:
    return _FRAME.pack(number, len(head)) + head + body


def unpack(data: bytes) -> tuple[int, bytes, bytes]:
    """Return number, head and body of a complete frame."""
    number, size = _FRAME.unpack_from(data)
    end = _FRAME.size + size
    return number, data[_FRAME.size : end], data[end:]


class Answers:
    """Numbers and heads, without bodies, put together from the pieces of a stream."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[tuple[int, bytes]]:
        data = self._rest + piece
        complete = []
        start = 0
        while (begin := start + _FRAME.size) <= len(data):
            number, size = _FRAME.unpack_from(data, start)
            if begin + size > len(data):
                break
            start = begin + size
            complete.append((number, data[begin:start]))
        self._rest = data[start:]
        return complete


def pack_metadata(task: Task, *, again: bool = False) -> bytes:
    """Everything of a task but its body; `again`: it was begun here before."""
    metadata = {name: getattr(task, name) for name in _METADATA}
    metadata["redelivered"] |= again
    return json.dumps(metadata).encode()


def unpack_task(head: bytes, body: bytes) -> Task:
    return Task(body=body, **json.loads(head))


def pack_outcome(outcome: Outcome) -> bytes:
    return b"" if outcome == _DONE else json.dumps([type(outcome).__name__, asdict(outcome)]).encode()


def unpack_outcome(head: bytes) -> Outcome:
    if not head:
        return _DONE
    kind, values = json.loads(head)
    return _VERDICTS[kind](**values)

"""The protocol between a worker and its runners: frames of a number and a head. Pure.

A head is marshalled: both ends are the same Python and the same rqtool, on a private socket, and marshal takes a
fraction of JSON's time. It never holds a body, which can come from anyone. Most answers are "done", and have an empty
head.
"""

from __future__ import annotations

import marshal
import os
import struct
from dataclasses import dataclass, fields
from typing import Any, Literal

from rqtool.run.outcome import CannotRun, Done, Failed, Outcome, OutputGone, Postponed, Rejected, Shortage
from rqtool.run.placeholders import WHOLE
from rqtool.run.task import Task

PRETENDED = "rqtool.run.child.pretend:work"
STEP = struct.Struct("ddd")
IN_STEP, SINCE, BLOCKED = range(3)
"""The note of an async function's runner in the memory that it shares with the worker: the number of the task that is
in a step (0: none), when that step began (time.monotonic), and how many seconds steps have blocked the event loop, but
for those of a task that was late already.
"""
_FRAME = struct.Struct("!QI")
_DONE = Done()
_VERDICTS = {kind.__name__: kind for kind in (CannotRun, Done, Failed, OutputGone, Postponed, Rejected, Shortage)}


@dataclass(frozen=True, slots=True)
class Spec:
    """What a runner does: `what` is a command with its arguments, or MODULE:FUNCTION alone; `timeout` in seconds,
    `width` tasks at once, `placeholder` what stands for the task in the arguments. `output`: "direct" sends the output
    of tasks to our own streams, the others to the worker, line by line or at the end of the task; with `tag`, the task
    goes before each line.
    """

    kind: Literal["command", "function"]
    what: list[str]
    timeout: float | None
    width: int = 1
    placeholder: str = WHOLE
    output: Literal["direct", "line", "group"] = "direct"
    tag: bool = False

    @property
    def runs(self) -> str:
        """The name that the broker may show; never the arguments, which can be secret."""
        if self.what == [PRETENDED]:
            return "dots"
        return os.path.basename(self.what[0]) if self.kind == "command" else self.what[0]

    @property
    def shared_size(self) -> int:
        """Bytes of the memory that the worker and a runner share: for the numbers of process groups, or for a step."""
        return self.width * 4 if self.kind == "command" else STEP.size


def pack_values(**values: object) -> bytes:
    return marshal.dumps(values)


def unpack_values(head: bytes) -> dict[str, Any]:
    return dict(marshal.loads(head))  # noqa: S302 - from our own other end


def pack_task(task: Task, *, again: bool = False) -> bytes:
    """Everything of a task but its body; `again`: it was begun here before."""
    redelivered = task.redelivered or again
    return marshal.dumps((task.queue, task.message_id, task.attempt, redelivered, task.headers))


def unpack_task(head: bytes, body: bytes) -> Task:
    return Task(body, *marshal.loads(head))  # noqa: S302


@dataclass(frozen=True, slots=True)
class Answer:
    """A runner's answer about a task that has ended. `written`: bytes of its stdout, and `last` the number of the last
    datagram with its output (see rqtool.run.channel); both 0 where stdout is ours.
    """

    outcome: Outcome
    last: int = 0
    written: int = 0

    def pack(self) -> bytes:
        if self.outcome == _DONE and not self.last and not self.written:
            return b""
        values = [getattr(self.outcome, field.name) for field in fields(self.outcome)]
        return marshal.dumps((self.last, self.written, type(self.outcome).__name__, *values))

    @staticmethod
    def unpack(head: bytes) -> Answer:
        if not head:
            return _NOTHING_SAID
        last, written, kind, *values = marshal.loads(head)  # noqa: S302
        return Answer(_VERDICTS[kind](*values), last, written)


_NOTHING_SAID = Answer(_DONE)


def pack(number: int, head: bytes, body: bytes = b"") -> bytes:
    return _FRAME.pack(number, len(head)) + head + body


def unpack(frame: bytes) -> tuple[int, bytes, bytes]:
    """Return number, head and body of a complete frame."""
    number, size = _FRAME.unpack_from(frame)
    end = _FRAME.size + size
    return number, frame[_FRAME.size : end], frame[end:]


class Answers:
    """Puts frames without bodies together from the pieces of a stream."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[tuple[int, bytes]]:
        """Return the number and head of each frame that is complete now."""
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

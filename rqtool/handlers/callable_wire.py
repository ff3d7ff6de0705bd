"""What a worker and the processes of its function say to each other: a number, a JSON head, a raw body. Pure.

Nothing is pickled: a body is whatever somebody put on the queue. A head that says nothing is empty, since most tasks
are a body and most answers are "done".
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, fields

from rqtool.outcomes import CannotRun, Done, Failed, Outcome, Postponed, Rejected
from rqtool.task import Task

LONGEST_INLINE = 16_384
"""Bytes of a head and a body that travel as one datagram; what is longer travels as a file."""
CHUNK = 65_536
_FRAME = struct.Struct("!QI")
_DONE = Done()
_METADATA = [field.name for field in fields(Task) if field.name != "body"]
_VERDICTS = {kind.__name__: kind for kind in (CannotRun, Failed, Postponed, Rejected)}


def pack(number: int, head: bytes, body: bytes = b"") -> bytes:
    return _FRAME.pack(number, len(head)) + head + body


def unpack(data: bytes) -> tuple[int, bytes, bytes]:
    """Return number, head and body of what is complete."""
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


def pack_metadata(task: Task) -> bytes:
    """Everything of a task but its body."""
    return json.dumps({name: getattr(task, name) for name in _METADATA}).encode()


def unpack_task(head: bytes, body: bytes) -> Task:
    return Task(body=body, **json.loads(head))


def pack_outcome(outcome: Outcome) -> bytes:
    return b"" if isinstance(outcome, Done) else json.dumps([type(outcome).__name__, asdict(outcome)]).encode()


def unpack_outcome(head: bytes) -> Outcome:
    if not head:
        return _DONE
    kind, values = json.loads(head)
    return _VERDICTS[kind](**values)

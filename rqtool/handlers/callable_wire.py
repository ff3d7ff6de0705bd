"""What a worker and the processes of its function say to each other: frames of a JSON head and a raw body. Pure.

Nothing is pickled: a body is whatever somebody put on the queue. A head that says nothing is empty, since most tasks
are a body and most answers are "done".
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, fields

from rqtool.outcomes import Done, Failed, Outcome, Postponed, Rejected
from rqtool.task import Task

CHUNK = 65_536
"""What is read at once, and up to which size copying costs less than a second call."""
_SIZES = struct.Struct("!IQ")
_METADATA = [field.name for field in fields(Task) if field.name != "body"]
_VERDICTS = {kind.__name__: kind for kind in (Failed, Postponed, Rejected)}


def frame(head: bytes = b"", body: bytes = b"") -> bytes:
    return _SIZES.pack(len(head), len(body)) + head + body


def frames(head: bytes, body: bytes) -> tuple[bytes, ...]:
    """A frame in the pieces in which it is best sent: a large body isn't copied."""
    return (frame(head, body),) if len(body) <= CHUNK else (_SIZES.pack(len(head), len(body)) + head, body)


class Incoming:
    """One frame, put together from the pieces that arrive."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._wanted = _SIZES.size

    def feed(self, piece: bytes) -> tuple[bytes, bytes] | None:
        """Return head and body once they are complete. Raises EOFError for the empty piece of a closed connection."""
        if not piece:
            raise EOFError
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size < self._wanted:
            return None
        whole = b"".join(self._pieces)
        head, body = _SIZES.unpack_from(whole)
        self._wanted = _SIZES.size + head + body
        if self._size < self._wanted:
            self._pieces = [whole]
            return None
        return whole[_SIZES.size : _SIZES.size + head], whole[_SIZES.size + head :]


def pack_metadata(task: Task) -> bytes:
    """Everything of a task but its body."""
    return json.dumps({name: getattr(task, name) for name in _METADATA}).encode()


def unpack_task(head: bytes, body: bytes) -> Task:
    return Task(body=body, **json.loads(head))


def pack_outcome(outcome: Outcome) -> bytes:
    return b"" if isinstance(outcome, Done) else json.dumps([type(outcome).__name__, asdict(outcome)]).encode()


def unpack_outcome(head: bytes) -> Outcome:
    if not head:
        return Done()
    kind, values = json.loads(head)
    return _VERDICTS[kind](**values)

"""What a command finds in its environment about its task. Pure."""

from __future__ import annotations

import os

from rqtool.run.encoding import unpack_json

PREFIX = b"RQTOOL_TASK_"
"""What the names of a task's metadata begin with. No option's environment twin does: a command that runs rqtool itself
must not inherit options that its own line doesn't give."""


def metadata_of(head: bytes) -> dict[bytes, bytes]:
    """The variables of a task, by what the worker says of it."""
    task = unpack_json(head)
    own = {
        b"QUEUE": task["queue"],
        b"ID": task["message_id"],
        b"ATTEMPT": str(task["attempt"]),
        b"REDELIVERED": "1" if task["redelivered"] else "0",
    }
    for name, value in task["headers"].items():
        variable = "".join(c if c.isascii() and c.isalnum() else "_" for c in name.upper())
        own[b"HEADER_" + variable.encode()] = value
    # An environment can hold no NUL; an id or header from elsewhere can.
    return {PREFIX + name: os.fsencode(value.replace("\0", "")) for name, value in own.items()}

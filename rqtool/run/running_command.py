"""A command that was started, and what is known of it."""

from __future__ import annotations

import os

LAST_BYTES = 2000
LAST_LINES = 10


class RunningCommand:
    """A command at work."""

    __slots__ = ("_tail", "answered", "code", "end_at", "kill_at", "number", "pid", "slot", "stderr", "timed_out")

    def __init__(self, number: int, slot: int, pid: int, stderr: int, end_at: float | None) -> None:
        self.number = number
        self.slot = slot
        self.pid = pid
        self.stderr: int | None = stderr
        self._tail = b""
        self.end_at = end_at
        """When its time is up, or, once it has ended, when nothing more is waited for."""
        self.kill_at: float | None = None
        self.timed_out = False
        self.code: int | None = None
        self.answered = False

    def signal_group(self, number: int) -> bool:
        """False: nobody is left of it."""
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):  # macOS refuses where all are zombies
            return False
        return True

    def said(self, data: bytes) -> None:
        """It wrote this to stderr."""
        self._tail = (self._tail + data)[-LAST_BYTES:]

    def last_lines(self) -> str:
        return "\n".join(self._tail.decode(errors="replace").splitlines()[-LAST_LINES:])

"""Signals in words, and how long they are given."""

from __future__ import annotations

import signal

KILL_AFTER = 5.0
"""Seconds that what is asked to end has, before it is killed."""


def signal_name(number: int) -> str:
    """Return `SIGKILL`, or `signal 40`: the real-time signals have no names."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

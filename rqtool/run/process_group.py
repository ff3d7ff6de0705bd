"""Signals to a process group."""

from __future__ import annotations

import os

KILL_AFTER = 5.0
"""Seconds between SIGTERM and SIGKILL."""


def signal_group(group: int, number: int) -> bool:
    """Signal a process group; 0 only looks. Returns False if it has no members left."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # macOS refuses where all are zombies
        return False
    return True

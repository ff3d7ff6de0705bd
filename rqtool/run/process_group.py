"""Signals to the process groups of a command."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from contextlib import suppress

KILL_AFTER = 5.0
"""Seconds between SIGTERM and SIGKILL."""


def groups_of(leaders: Collection[int]) -> dict[int, set[int]]:
    """For each leader of a process group, the groups that it and its descendants are in: `timeout` in a script, or a
    shell with job control, makes groups of its own. What has gone into a session of its own is meant to stay. Where
    /proc can't be read (macOS), only the group of the leader.
    """
    processes: dict[int, tuple[int, int, int]] = {}
    try:
        names = os.listdir("/proc") if leaders else []
    except OSError:  # not on Linux, or no descriptor is left
        names = []
    for pid in map(int, filter(str.isdigit, names)):
        with suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
            parent, group, session = map(int, file.read().rpartition(b")")[2].split()[1:4])
            processes[pid] = parent, group, session
    children: dict[int, list[int]] = {}
    for pid, (parent, _, session) in processes.items():
        if parent in processes and processes[parent][2] == session:
            children.setdefault(parent, []).append(pid)
    found = {}
    for leader in leaders:
        found[leader], left = {leader}, [leader]
        while left:
            below = children.get(left.pop(), [])
            found[leader].update(processes[pid][1] for pid in below)
            left += below
    return found


def signal_groups(groups: Iterable[int], number: int) -> bool:
    """Signal process groups; 0 only looks. Returns False if none has a member left."""
    found = False
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):  # macOS refuses where all are zombies
            os.killpg(group, number)
            found = True
    return found

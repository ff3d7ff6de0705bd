"""Signals to the process groups of a command."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from contextlib import suppress

KILL_AFTER = 5.0
"""Seconds between SIGTERM and SIGKILL."""


def groups_of(leaders: Collection[int]) -> dict[int, set[int]]:
    """For each leader of a process group, the groups that it and its descendants are in: `timeout` in a script, or a
    shell with job control, makes groups of its own. Without /proc (macOS) only that of the leader.
    """
    children: dict[int, list[tuple[int, int]]] = {}
    for pid in map(int, filter(str.isdigit, os.listdir("/proc") if leaders and os.path.isdir("/proc") else ())):
        with suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()  # state, parent, group, ...
            children.setdefault(int(fields[1]), []).append((pid, int(fields[2])))
    found = {}
    for leader in leaders:
        found[leader], left = {leader}, [leader]
        while left:
            for pid, group in children.get(left.pop(), ()):
                found[leader].add(group)
                left.append(pid)
    return found


def signal_groups(groups: Iterable[int], number: int) -> bool:
    """Signal process groups; 0 only looks. Returns False if none has a member left."""
    return sum(signal_group(group, number) for group in groups) > 0


def signal_group(group: int, number: int) -> bool:
    """The same for one."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # macOS refuses where all are zombies
        return False
    return True

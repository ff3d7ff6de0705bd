"""When tasks were done: every process stamps each BENCH_EVERY-th one of its own into the file BENCH_STAMPS.

The clock is the machine's monotonic one, which all processes share.
"""

from __future__ import annotations

import os
import time
from itertools import count
from pathlib import Path

BEGIN, END = 0.1, 0.9
"""Between these parts of all tasks a rate is taken."""

_FILE = os.environ.get("BENCH_STAMPS")
_EVERY = int(os.environ.get("BENCH_EVERY", "100"))
_stamps = os.open(_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT) if _FILE else None
_numbers = count(1)


def tick() -> None:
    """Count a task of this process. A counter, and no lock: threads get numbers of their own."""
    if next(_numbers) % _EVERY == 0 and _stamps is not None:
        os.write(_stamps, b"%.6f %d\n" % (time.monotonic(), _EVERY))


def delay(sent: bytes) -> None:
    """Write how many nanoseconds ago a task was sent, whose body says when (`time.time_ns`)."""
    if _stamps is not None:
        os.write(_stamps, b"%d\n" % (time.time_ns() - int(sent)))


def read(path: Path) -> list[tuple[float, int]]:
    """Return the stamps so far, the earliest first: seconds, and how many tasks each stands for."""
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return sorted((float(seconds), int(tasks)) for seconds, tasks in lines)


def rate(stamps: list[tuple[float, int]], total: int) -> float:
    """Return tasks per second of all processes together, from the first tenth of `total` to the ninth.

    Starting is left out, and so are the last tasks, which not every process shares. Raises ValueError where too few
    tasks were stamped.
    """
    done, first = 0, None
    for seconds, tasks in stamps:
        done += tasks
        if first is None and done >= total * BEGIN:
            first = (seconds, done)
        elif first is not None and done >= total * END:
            return (done - first[1]) / (seconds - first[0])
    raise ValueError(f"{done:,} of {total:,} tasks were stamped")

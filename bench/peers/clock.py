"""A program's own clock: neither the interpreter's start nor reading the input is in it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def clock() -> Iterator[None]:
    """Print the seconds between beginning and end, and those of CPU time, as JSON."""
    started, cpu = time.monotonic(), time.process_time()
    yield
    print(json.dumps({"seconds": time.monotonic() - started, "cpu": time.process_time() - cpu}))

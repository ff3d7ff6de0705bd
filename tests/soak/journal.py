"""What happened and when: said on stderr, kept in a file, and the troubles counted."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path


class Journal:
    """Times are seconds since it was made."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w")
        self._start = time.monotonic()
        self._lock = threading.Lock()
        self.hung: list[str] = []
        """Processes and steps that did not end within their deadlines."""
        self.troubles: list[str] = []
        """Whatever else nobody should see."""

    @property
    def now(self) -> float:
        return time.monotonic() - self._start

    def say(self, text: str) -> None:
        line = f"{self.now:7.1f}  {text}"
        with self._lock:
            print(line, file=sys.stderr, flush=True)
            print(line, file=self._file, flush=True)

    def hang(self, text: str) -> None:
        self.hung.append(f"{self.now:.1f}: {text}")
        self.say(f"HUNG {text}")

    def trouble(self, text: str) -> None:
        self.troubles.append(f"{self.now:.1f}: {text}")
        self.say(f"TROUBLE {text}")

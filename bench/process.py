"""Running programs, and what a run of one cost."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[1]
PYTHON = sys.executable
RQTOOL = str(Path(PYTHON).with_name("rqtool"))
PEERS = ROOT / ".venv-bench" / "bin"
"""The peers' virtual environment, apart from rqtool's: none of them is a dependency of it."""

Command = Sequence[str | Path]
LOOK = 0.02
"""Seconds between two looks at a process's memory."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A run's wall-clock and CPU seconds, those of its own children included, its peak memory in MB, its output."""

    seconds: float
    cpu: float
    peak: float
    stdout: str

    @property
    def own(self) -> tuple[float, float]:
        """Wall-clock and CPU seconds as a program of ours says them itself."""
        said = json.loads(self.stdout)
        return float(said["seconds"]), float(said["cpu"])


def run(command: Command, environment: Mapping[str, str], stdin: IO[bytes] | int = subprocess.DEVNULL) -> Ended:
    """Run a program to its end. Raises RuntimeError, with the end of its stderr, where it fails."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        started = time.monotonic()
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stdin=stdin, stdout=stdout, stderr=stderr)
        peak = _Peak(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        stdout.seek(0)
        stderr.seek(0)
        if process.returncode != 0:
            last = stderr.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"{Path(command[0]).name} ended with {process.returncode}: {last}")
        return Ended(seconds, usage.ru_utime + usage.ru_stime, peak.megabytes(), stdout.read().decode())


class _Peak:
    """Looks at a process's peak of memory, as it is by itself: what wait4 tells is at least what its parent had."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._kilobytes = 0
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def megabytes(self) -> float:
        """When the process has ended."""
        self._thread.join()
        return self._kilobytes / 1024

    def _look(self) -> None:
        with suppress(OSError):
            while (peak := re.search(r"VmHWM:\s*(\d+)", self._status.read_text())) is not None:
                self._kilobytes = int(peak[1])
                time.sleep(LOOK)

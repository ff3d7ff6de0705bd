"""What a task of the soak is, and the function that does it. `task.sh` is the same for workers that run commands."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import rqtool

SCRIPT = Path(__file__).with_name("task.sh")
DELAYS = "1s,2s,3s"
MOST_FAILURES = 3
"""A task may fail this often and end well after all: DELAYS make four attempts."""
SLOW_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Task:
    """`action`: quick, slow (SLOW_SECONDS), fail (its first `failures` attempts), never (every attempt), or poison (it
    kills its worker, every time).
    """

    id: str
    action: str
    failures: int = 0

    @property
    def line(self) -> str:
        return f"{self.id} {self.action} {self.failures}"

    @property
    def deserves_death(self) -> bool:
        return self.action in ("never", "poison")


def parse(line: str) -> Task:
    """Read what `Task.line` wrote."""
    name, action, failures = line.split()
    return Task(name, action, int(failures))


def do(given: rqtool.Task) -> None:
    """Do a task in a worker's `--call`; the last thing is a line in the file of those that are completed."""
    task = parse(given.body.decode())
    if task.action == "slow":
        time.sleep(SLOW_SECONDS)
    elif task.action == "poison":
        os.killpg(int(os.environ["SOAK_WORKER"]), signal.SIGKILL)
        time.sleep(1)  # the worker is dead; this process is in a group of its own, and ends when it finds out
    if task.action in ("never", "poison") or (task.action == "fail" and given.attempt <= task.failures):
        raise RuntimeError(f"attempt {given.attempt} of {task.id} fails")
    line = f"{task.id} {given.message_id} {given.attempt} {int(given.redelivered)}\n"
    done = os.open(os.environ["SOAK_DONE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(done, line.encode())
    finally:
        os.close(done)

"""What a task of the soak is, and the functions that do it. `task.sh` is the same for workers that run commands."""

from __future__ import annotations

import asyncio
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
TIMEOUT = "8s"
HANG_SECONDS = 60
"""Far beyond the timeout."""
ASYNC_JOBS = 5
"""Tasks at once in the one process of an async function."""


@dataclass(frozen=True, slots=True)
class Task:
    """`action`: quick, slow (SLOW_SECONDS), fail, crash or hang (in its first `failures` attempts it fails, ends its
    process, or blocks it for HANG_SECONDS), never (it fails in every attempt), or poison (it kills its worker, every
    time).
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
    _do(task, given)


async def do_async(given: rqtool.Task) -> None:
    """Do a task beside others. One that is about to break the process for all of them leaves a note first."""
    task = parse(given.body.decode())
    if task.action == "slow":
        await asyncio.sleep(SLOW_SECONDS)
    elif task.action in ("crash", "hang") and given.attempt <= task.failures:
        _append("SOAK_BROKEN", _process())
    _do(task, given)


def _do(task: Task, given: rqtool.Task) -> None:
    troubled = given.attempt <= task.failures
    if task.action == "poison":
        os.killpg(int(os.environ["SOAK_WORKER"]), signal.SIGKILL)
        time.sleep(1)  # the worker is dead; this process is in a group of its own, and ends when it finds out
    elif task.action == "crash" and troubled:
        os._exit(1)
    elif task.action == "hang" and troubled:
        time.sleep(HANG_SECONDS)
    if task.deserves_death or (task.action == "fail" and troubled):
        raise RuntimeError(f"attempt {given.attempt} of {task.id} fails")
    _append("SOAK_DONE", f"{task.id} {given.message_id} {given.attempt} {int(given.redelivered)} {_process()}")


def _process() -> str:
    return f"{os.environ['SOAK_LIFE']}/{os.getpid()}"


def _append(variable: str, line: str) -> None:
    """Write a line, at once and whole, into the file that the variable names."""
    file = os.open(os.environ[variable], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)

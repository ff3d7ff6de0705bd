"""Workers at work: started, timed by the stamps that their tasks leave, and ended."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from bench import stamps
from bench.broker import Broker
from bench.figures import Sample
from bench.process import ROOT, Command

PATIENCE = 180.0
"""Seconds: whoever has not done its tasks by then does not work."""


class Workers:
    """Processes that run until `stop`. Their output goes to a file."""

    def __init__(self, commands: Sequence[Command], environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as file:
            self.processes = [
                subprocess.Popen(command, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
                for command in commands
            ]

    def check(self) -> None:
        """Raises RuntimeError, with the end of what they said, where one has ended."""
        for process in self.processes:
            if process.poll() is not None:
                raise RuntimeError(f"{process.args!r} ended with {process.returncode}: {self._log.read_text()[-2000:]}")

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Raises RuntimeError where it does not come true in time, or one of them ends before."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.processes[0].args!r} is not done within {PATIENCE:.0f} s")
            time.sleep(0.1)

    def send(self, number: signal.Signals) -> None:
        for process in self.processes:
            process.send_signal(number)

    def stop(self) -> float:
        """End them all and return the CPU seconds that they took, with those of their own children."""
        running = [process for process in self.processes if process.returncode is None]
        for process in running:
            process.send_signal(signal.SIGTERM)
            # For one that is stopped.
            process.send_signal(signal.SIGCONT)
        cpu = 0.0
        for process in running:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            cpu += usage.ru_utime + usage.ru_stime
        return cpu


@contextmanager
def running(commands: Sequence[Command], environment: Mapping[str, str], log: Path) -> Iterator[Workers]:
    """Start workers, and end what is left of them whatever happens."""
    workers = Workers(commands, environment, log)
    try:
        yield workers
    finally:
        workers.stop()


def rate(broker: Broker, command: Command, total: int, environment: Mapping[str, str]) -> Sample:
    """Return how many tasks a second a worker does, of a queue with `total` tasks in it.

    Raises RuntimeError where it does not.
    """
    file = _no_stamps(broker)
    with _stamping(broker, [command], total, file, environment) as workers:
        return _timed(workers, file, total)


def rate_together(broker: Broker, commands: Sequence[Command], queue: str, tasks: Sequence[bytes]) -> Sample:
    """Return how many tasks a second these workers do together, all of them there from the first task on.

    Raises RuntimeError where they don't.
    """
    file = _no_stamps(broker)
    broker.fresh(queue)
    with _stamping(broker, commands, len(tasks), file, {}) as workers:
        workers.wait_until(lambda: broker.consumers(queue) == len(commands))
        workers.send(signal.SIGSTOP)
        broker.put(queue, tasks)
        workers.send(signal.SIGCONT)
        return _timed(workers, file, len(tasks))


def _no_stamps(broker: Broker) -> Path:
    file = broker.folder / "stamps"
    file.unlink(missing_ok=True)
    return file


def _stamping(
    broker: Broker, commands: Sequence[Command], total: int, file: Path, environment: Mapping[str, str]
) -> AbstractContextManager[Workers]:
    stamping = {"BENCH_STAMPS": str(file), "BENCH_EVERY": str(max(1, total // 200))}
    return running(commands, broker.environment | stamping | dict(environment), broker.folder / "workers.log")


def _timed(workers: Workers, file: Path, total: int) -> Sample:
    workers.wait_until(lambda: sum(tasks for _, tasks in stamps.read(file)) >= total * stamps.END)
    return Sample(stamps.rate(stamps.read(file), total), workers.stop() / total)

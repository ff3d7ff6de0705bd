"""Load: workers that are kept up, as systemd would, and whose ends are judged."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.soak.broker import Broker
from tests.soak.journal import Journal
from tests.soak.ledger import Inflicted
from tests.soak.reader import Reader
from tests.soak.scenario import QUEUE, Worker
from tests.tools import Running, clean_environment

ROOT = Path(__file__).parents[2]
RESTART_SECONDS = 1.0
STARTING_SECONDS = 60.0
"""How long a worker may take on a busy machine until it minds its signals."""
END_SECONDS = 90.0
"""For a worker that is told to stop: one that hangs beside others takes half a minute, the rest is the broker's."""
GHOST_SECONDS = 10.0
"""How long what a killed worker ran may go on."""
GRACEFUL = (signal.SIGTERM, signal.SIGHUP)
LOOK = 0.2


@dataclass
class _Life:
    """One process of a worker, from start to end."""

    name: str
    worker: Worker
    reader: Reader
    running: Running
    begun: float
    told: set[int] = field(default_factory=set)
    ended_at: float | None = None


class Workers:
    """Workers by name. `poison`: whether tasks that kill their workers are about; such deaths go into `faults`."""

    def __init__(
        self, broker: Broker, folder: Path, journal: Journal, faults: list[Inflicted], *, poison: bool
    ) -> None:
        self._broker = broker
        self._folder = folder
        self._journal = journal
        self._faults = faults
        self._poison = poison
        self._lives: dict[str, _Life] = {}
        self._readers: list[Reader] = []
        self._runs = 0
        self._lock = threading.Lock()
        self._closed = False
        self.done = folder / "done"
        """Where tasks write that they are completed."""
        self.broken = folder / "broken"
        """Where tasks of an async function write which process they are about to break."""
        self.killed: dict[str, int] = {}
        """Lives that ended by SIGKILL, with the number of lines in `done` GHOST_SECONDS later."""
        self.refused_starts = 0

    def start(self, worker: Worker, *more: str) -> None:
        with self._lock:
            if self._closed:
                return
            self._runs += 1
            name = f"{worker.name}.{self._runs}"
            out, err = self._folder / f".work.{name}.out", self._folder / f".work.{name}.err"
            verb, *rest = worker.arguments
            reader = Reader(out)
            self._readers = [*(other for other in self._readers if other.is_there), reader]
            with err.open("wb") as stderr, reader.pipe as stdout:
                process = subprocess.Popen(
                    [sys.executable, "-m", "tests.soak.grouped_worker", verb, *more, *rest],
                    env=clean_environment() | self._broker.environment | self._environment(name),
                    cwd=self._folder,
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                )
            self._lives[worker.name] = _Life(name, worker, reader, Running(process, out, err), time.monotonic())

    def running(self) -> list[Worker]:
        lives = sorted(self._lives.items())
        return [life.worker for _, life in lives if life.running.process.poll() is None]

    def signal(self, worker: Worker, number: int) -> None:
        life = self._lives[worker.name]
        life.told.add(number)
        life.running.signal(number)

    @contextmanager
    def unread(self, worker: Worker) -> Iterator[None]:
        """Nobody reads what the worker prints meanwhile."""
        with self._lives[worker.name].reader.stalled():
            yield

    def wait(self, worker: Worker) -> None:
        """Wait for the end of a worker that was told to stop; it is killed where that takes too long."""
        life = self._lives[worker.name]
        deadline = time.monotonic() + END_SECONDS
        while life.running.process.poll() is None:
            if time.monotonic() > deadline:
                self._journal.hang(
                    f"{worker.name} (pid {life.running.process.pid}), told to stop, for {END_SECONDS:.0f} s"
                )
                life.told.add(signal.SIGKILL)
                life.running.kill()
            time.sleep(LOOK)

    def supervise(self, over: threading.Event) -> None:
        """Judge those that end, and start them again, until `over`."""
        while not over.wait(LOOK):
            for life in list(self._lives.values()):
                if life.running.process.poll() is None:
                    continue
                if life.ended_at is None:
                    life.ended_at = time.monotonic()
                    self._judge(life)
                elif time.monotonic() - life.ended_at > RESTART_SECONDS:
                    self.start(life.worker)

    def stop_all(self) -> None:
        """Tell all that run to stop, and wait for them."""
        up = self.running()
        for worker in up:
            self.signal(worker, signal.SIGTERM)
        for worker in up:
            self.wait(worker)
            self._judge(self._lives[worker.name])
        self._lives.clear()

    def drain(self, workers: Sequence[Worker], seconds: float) -> None:
        """Work off what is left; every worker ends by itself. Those whose task killed them are started again."""
        for worker in workers:
            self.start(worker, "--drain")
        deadline = time.monotonic() + seconds
        while self._lives and time.monotonic() < deadline:
            time.sleep(LOOK)
            for name, life in list(self._lives.items()):
                code = life.running.process.poll()
                if code in (0, 1):
                    del self._lives[name]
                elif code is not None:
                    self._judge(life)
                    self.start(life.worker, "--drain")
        if not self._lives:
            return
        for name in self._lives:
            self._journal.hang(f"{name}: `work --drain` does not end within {seconds:.0f} s")
        for line in self._broker.figures():
            self._journal.say(line)
        for life in self._lives.values():
            life.running.kill()
        self._broker.restart()

    def end_all(self) -> None:
        """Kill what runs; nothing is started any more."""
        with self._lock:
            self._closed = True
            for life in self._lives.values():
                if life.running.process.poll() is None:
                    life.running.kill()
            for reader in self._readers:
                reader.end()

    def _environment(self, life: str) -> dict[str, str]:
        """What tasks know."""
        files = {"SOAK_DONE": str(self.done), "SOAK_BROKEN": str(self.broken)}
        return files | {"SOAK_LIFE": life, "PYTHONPATH": str(ROOT)}

    def _look_for_ghosts(self, life: str) -> None:
        """Note, in a while, how much was done by then."""

        def note() -> None:
            self.killed[life] = self.done.read_bytes().count(b"\n") if self.done.exists() else 0

        timer = threading.Timer(GHOST_SECONDS, note)
        timer.daemon = True
        timer.start()

    def _judge(self, life: _Life) -> None:
        code, worker = life.running.process.returncode, life.worker
        if code == -signal.SIGKILL:
            self._look_for_ghosts(life.name)
        if signal.SIGKILL in life.told:
            return
        if code == -signal.SIGKILL and self._poison and worker.queue == QUEUE:  # told to end or not
            now = self._journal.now
            self._faults.append(Inflicted("poison", now, now, worker.name, most_twice(worker)))
            return
        if told := life.told.intersection(GRACEFUL):
            young = time.monotonic() - life.begun < STARTING_SECONDS
            expected = code == 0 or (young and code in (69, *(-number for number in told)))
            expected |= code == 69 and self._broker.was_away
        else:
            expected = code == 69 and self._broker.was_away
            self.refused_starts += expected
        if not expected:
            names = ", ".join(signal.Signals(number).name for number in life.told) or "nothing"
            self._journal.trouble(f"{worker.name} ended with {code}, told {names}: {life.running.stderr[-300:]}")


def most_twice(worker: Worker) -> int:
    """How many tasks are done twice where this worker is killed, by the table of docs/guarantees.md."""
    processes = 1 if worker.call == "do_async" else worker.jobs
    return (100 if worker.call else 2) * processes

"""A soak from start to account: load, faults, healing, draining. Everything has a deadline."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from tests.soak.broker import Broker
from tests.soak.journal import Journal
from tests.soak.ledger import Account, Burial, Completion, Inflicted, settle
from tests.soak.nemeses import Nemeses
from tests.soak.new_queues import NewQueues
from tests.soak.scenario import QUEUE, NewQueue, Scenario, Worker
from tests.soak.senders import MOST_ARGUMENTS, Senders
from tests.soak.tasks import Task, parse
from tests.soak.workers import Workers
from tests.tools import Program

HEAL_SECONDS = 150.0
"""For the last faults to be over."""
SEND_SECONDS = 240.0
"""For what is not confirmed when all is healed."""
DRAIN_SECONDS = 420.0
"""The broker may offer a retry three minutes late when it was killed meanwhile."""
ALL_SECONDS = HEAL_SECONDS + SEND_SECONDS + DRAIN_SECONDS + 300
"""The most that a soak may take beyond the time of its faults: 300 s for starts, stops and the account."""
END_OF_SUPERVISION = 10.0
PIECE_SECONDS = 6
BULK_PIECES = 4
SINGLE_SECONDS = 4.0
LAST_WORDS = 2.0
"""Seconds in which what a killed worker left running ends by itself."""


class Course:
    """One soak in a folder. `broker` is given so that the caller can stop it, whatever happens here."""

    def __init__(self, scenario: Scenario, broker: Broker, folder: Path, journal: Journal) -> None:
        self._scenario = scenario
        self._broker = broker
        self._folder = folder
        self._journal = journal
        self.faults: list[Inflicted] = []
        self.senders = Senders(broker, folder, journal)
        self.workers = Workers(broker, folder, journal, self.faults, poison=scenario.poison > 0)
        self._begun: list[Worker] = []  # those of new queues
        self._completions: list[Completion] = []
        self._burials: list[Burial] = []
        self._over = threading.Event()
        self._start = 0.0
        self._until = 0.0

    def run(self) -> Account:
        self._prepare()
        supervision = threading.Event()
        supervisor = self._thread(lambda: self.workers.supervise(supervision))
        for worker in self._scenario.workers:
            self.workers.start(worker)
        load: list[threading.Thread] = []
        new_queues = NewQueues(
            list(self._scenario.new_queues), self._new_queue, lambda work: load.append(self._thread(work))
        )
        nemeses = Nemeses(self._broker, self.workers, self.senders, new_queues, self.faults, self._journal)
        self._start = self._journal.now
        self._until = self._start + self._scenario.seconds + SEND_SECONDS
        load += [self._thread(work) for work in (self._pipe, self._bulk, self._singles)]
        load.append(self._thread(lambda: new_queues.run(lambda: self._journal.now - self._start, self._over)))
        chaos = [
            self._thread(lambda faults=faults: nemeses.run(faults, self._start, self._over))  # type: ignore[misc]
            for faults in (self._scenario.process_faults, self._scenario.broker_faults)
        ]
        time.sleep(self._scenario.seconds)
        self._over.set()
        self._join(chaos, HEAL_SECONDS, "faults")
        self._broker.start()
        self._journal.say("healed")
        self._join(load, SEND_SECONDS, "senders")
        self._journal.say(f"all is sent: {len(self.senders.confirmed)} tasks")
        supervision.set()
        self._join([supervisor], END_OF_SUPERVISION, "the supervisor")
        self.workers.stop_all()
        self._journal.say("draining")
        self.workers.drain(self._drainers(), DRAIN_SECONDS)
        time.sleep(LAST_WORDS)
        return self._settle()

    @property
    def counts(self) -> dict[str, int]:
        """What the report says beside the account."""
        return {
            "offered": len(self.senders.tasks),
            "confirmed": len(self.senders.confirmed),
            "completed": len({done.id for done in self._completions}),
            "dead": len({burial.id for burial in self._burials}),
            "refused_starts": self.workers.refused_starts,
        }

    def end(self) -> None:
        """End every process of the load."""
        self._over.set()
        self.senders.end_all()
        self.workers.end_all()

    def _prepare(self) -> None:
        """Make the queue that is old when the faults begin; the new ones come later."""
        made = Program(self._broker.environment, self._folder)("send", "-q", QUEUE, "--type", self._scenario.kind)
        assert made.code == 0, made.stderr
        self._broker.write_down()

    # The load.

    def _pipe(self) -> None:
        tasks, rate = self._scenario.tasks("pipe"), self._scenario.rate
        while not self._over.is_set():
            piece = list(islice(tasks, rate * PIECE_SECONDS))
            self.senders.send_all("pipe", QUEUE, self._scenario.kind, piece, self._until, rate)

    def _bulk(self) -> None:
        """In a few pieces, the first at once; the poison is in the middle of the second."""
        tasks, size = self._scenario.tasks("bulk"), self._scenario.bulk // BULK_PIECES
        for number in range(BULK_PIECES):
            piece = list(islice(tasks, size))
            if number == 1:
                piece[size // 2 : size // 2] = self._scenario.poisonous()
            self.senders.send_all("bulk", QUEUE, self._scenario.kind, piece, self._until)
            self._over.wait(self._scenario.seconds / BULK_PIECES)

    def _singles(self) -> None:
        for task in self._scenario.tasks("single"):
            self.senders.send_all("single", QUEUE, self._scenario.kind, [task], self._until)
            if self._over.wait(SINGLE_SECONDS):
                return

    def _new_queue(self, new: NewQueue) -> None:
        """A few tasks come first, from a sender that has nothing left to do then: one that goes on would notice that
        the queue has gone. They fail at once, while the worker's own queues are new.
        """
        worker = new.worker
        self._begun.append(worker)
        self._journal.say(f"new {worker.kind} queue {worker.queue}: {new.tasks} tasks")
        first = [Task(f"{worker.name}-first-{number}", "fail", 1) for number in range(MOST_ARGUMENTS)]
        self.senders.send_all(worker.name, worker.queue, worker.kind, first, self._until)
        self.workers.start(worker)
        tasks = list(islice(self._scenario.tasks(worker.name), new.tasks))
        self.senders.send_all(worker.name, worker.queue, worker.kind, tasks, self._until)

    def _drainers(self) -> list[Worker]:
        """Two workers for the main queue, which must see what the other one holds; one for each new queue."""
        kind = self._scenario.kind
        return [
            Worker("drain1", QUEUE, kind, jobs=25, prefetch=25, call=""),
            Worker("drain2", QUEUE, kind, jobs=1, prefetch=100, call="do"),
            *self._begun,
        ]

    # Threads.

    def _thread(self, work: Callable[[], None]) -> threading.Thread:
        """A thread whose failure is a trouble of the soak."""

        def run() -> None:
            try:
                work()
            except Exception:  # whatever it is
                self._journal.trouble(traceback.format_exc())

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def _join(self, threads: list[threading.Thread], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                self._journal.hang(f"{what}, for {seconds:.0f} s")

    # The account.

    def _settle(self) -> Account:
        queued: set[str] = set()
        for queue in self._broker.queues():
            if queue.endswith(".rqtool.new"):
                continue  # a marker, no task
            for properties, body in self._broker.take(queue):
                task = parse(body.decode())
                if not queue.endswith(".dead"):
                    queued.add(task.id)
                    continue
                headers = properties.headers or {}
                error = headers.get("x-rqtool-error") or f"by the broker: {headers.get('x-first-death-reason')}"
                self._burials.append(Burial(task.id, properties.message_id, str(error)))
        self._completions = _completions(self.workers.done)
        sent = self.senders
        return settle(
            sent.tasks,
            sent.offers,
            sent.confirmed,
            self._completions,
            self._burials,
            queued,
            self.faults,
            set(_lines(self.workers.broken)),
            self.workers.killed,
        )


def _completions(path: Path) -> list[Completion]:
    found = []
    for line in _lines(path):
        name, message_id, attempt, redelivered, process = line.split()
        found.append(Completion(name, message_id, int(attempt), redelivered == "1", process))
    return found


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []

"""The faults: what each does, to whom, and how it is healed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from rqtool.errors import RqtoolError
from rqtool.private_broker.node import Node
from tests.soak.broker import Broker
from tests.soak.journal import Journal
from tests.soak.ledger import Inflicted
from tests.soak.new_queues import NewQueues
from tests.soak.scenario import QUEUE, Fault, NewQueue
from tests.soak.senders import Senders
from tests.soak.tasks import DELAYS
from tests.soak.workers import GRACEFUL, Workers, most_twice
from tests.tools import eventually

SENDER_SIGNALS = {
    "kill sender": signal.SIGKILL,
    "interrupt sender": signal.SIGINT,
    "term sender": signal.SIGTERM,
    "stop sender": signal.SIGSTOP,
}
WORKER_SIGNALS = {
    "kill worker": signal.SIGKILL,
    "kill all workers": signal.SIGKILL,
    "term worker": signal.SIGTERM,
    "hup worker": signal.SIGHUP,
    "stop worker": signal.SIGSTOP,
}
ALARMS = {
    # kind: what is set, to a value that is below what is used, and back to RabbitMQ's default
    "memory alarm": ("set_vm_memory_high_watermark", "0.00001", "0.4"),
    "disk alarm": ("set_disk_free_limit", "9000GB", "50MB"),
}
FIRST_SECONDS = 15.0
"""How long a fault waits for the first task of a new queue to be confirmed, or for its first retry."""
YOUNG_SECONDS = 3.0
"""In which RabbitMQ may not have written down what queues there are: a new one, or the first retry's beside it."""
Effect = tuple[str, int | None]
"""Whom it was done to, and how many tasks may be done twice for it."""


class Nemeses:
    """Inflicts faults, and writes them down in `inflicted`."""

    def __init__(
        self,
        broker: Broker,
        workers: Workers,
        senders: Senders,
        new_queues: NewQueues,
        inflicted: list[Inflicted],
        journal: Journal,
    ) -> None:
        self._broker = broker
        self._workers = workers
        self._senders = senders
        self._new_queues = new_queues
        self._inflicted = inflicted
        self._journal = journal

    def run(self, faults: Sequence[Fault], start: float, over: threading.Event) -> None:
        """Inflict one after the other, each at its moment after the journal's time `start`, until `over`."""
        for fault in faults:
            if over.wait(max(0.0, start + fault.at - self._journal.now)):
                return
            at = self._journal.now
            self._journal.say(f"{fault.kind} ({fault.seconds:.1f} s)")
            try:
                on, twice = self._effect(fault)(fault, random.Random(fault.luck))
            except (OSError, subprocess.SubprocessError, AssertionError, RqtoolError) as error:
                self._journal.trouble(f"{fault.kind} failed: {error!r}")
                on, twice = "it failed", None
            self._inflicted.append(Inflicted(fault.kind, at, self._journal.now, on, twice))
            self._journal.say(f"  {fault.kind} is over: {on}")

    def _effect(self, fault: Fault) -> Callable[[Fault, random.Random], Effect]:
        if fault.kind in SENDER_SIGNALS:
            return self._signal_sender
        if fault.kind in WORKER_SIGNALS:
            return self._signal_workers
        if fault.kind in ALARMS:
            return self._alarm
        return {
            "stall output": self._stall_output,
            "close connections": self._close_connections,
            "stop node": self._stop_node,
            "restart node": self._restart_node,
        }.get(fault.kind, self._kill_nodes)

    def _signal_sender(self, fault: Fault, luck: random.Random) -> Effect:
        if not (running := self._senders.running()):
            return "none was there", 0
        name, number = luck.choice(running), SENDER_SIGNALS[fault.kind]
        self._senders.signal(name, number)
        if number == signal.SIGSTOP:
            time.sleep(fault.seconds)
            self._senders.signal(name, signal.SIGCONT)
        return name, None if number == signal.SIGSTOP else 0

    def _signal_workers(self, fault: Fault, luck: random.Random) -> Effect:
        if not (running := self._workers.running()):
            return "none was there", 0
        victims, number = (
            running if fault.kind == "kill all workers" else [luck.choice(running)],
            WORKER_SIGNALS[fault.kind],
        )
        for worker in victims:
            self._workers.signal(worker, number)
        if number == signal.SIGSTOP:
            time.sleep(fault.seconds)
            self._workers.signal(victims[0], signal.SIGCONT)
        elif number in GRACEFUL:
            self._workers.wait(victims[0])
        return ", ".join(worker.name for worker in victims), sum(most_twice(worker) for worker in victims)

    def _stall_output(self, fault: Fault, luck: random.Random) -> Effect:
        talkers = [worker for worker in self._workers.running() if not worker.is_quiet]
        if not talkers:
            return "none was there", 0
        worker = luck.choice(talkers)
        with self._workers.unread(worker):
            time.sleep(fault.seconds)
        return worker.name, 0

    def _alarm(self, fault: Fault, luck: random.Random) -> Effect:
        node = luck.choice(self._broker.members)
        verb, low, usual = ALARMS[fault.kind]
        self._broker.ctl(node, verb, low)
        time.sleep(fault.seconds)
        if not self._broker.ctl(node, verb, usual):
            at = self._journal.now
            with self._broker.away():  # a restart forgets what was set
                self._broker.terminate(node)
                self._broker.start()
            self._inflicted.append(Inflicted("restart node", at, self._journal.now, node.name))
        return node.name, 0

    def _close_connections(self, fault: Fault, luck: random.Random) -> Effect:
        return f"{self._broker.close_connections()} connections", None

    def _stop_node(self, fault: Fault, luck: random.Random) -> Effect:
        node = luck.choice(self._broker.members)
        with self._broker.away():
            os.kill(node.pid, signal.SIGSTOP)
            time.sleep(fault.seconds)
            os.kill(node.pid, signal.SIGCONT)
        return node.name, None

    def _restart_node(self, fault: Fault, luck: random.Random) -> Effect:
        node = luck.choice(self._broker.members)
        with self._down(fault):
            self._broker.terminate(node)
        return node.name, None

    def _kill_nodes(self, fault: Fault, luck: random.Random) -> Effect:
        if fault.kind == "kill after a new queue" and (new := self._new_queues.begin()) is not None:
            self._wait_until_young(new, luck)
        victims = self._victims(fault.kind, luck)
        with self._down(fault):
            self._journal.say(f"  killing {', '.join(node.name for node in victims)}")
            self._broker.kill(*victims)
        return ", ".join(node.name for node in victims), None

    def _wait_until_young(self, new: NewQueue, luck: random.Random) -> None:
        """Until its first task is confirmed, or, the weaker spot, its first retry is stored; or a moment longer."""
        first_retry = f"{new.worker.queue}.retry.{DELAYS.split(',')[0]}"
        is_confirmed = partial(self._senders.has_confirmed, new.worker.name)
        is_retried = partial(self._broker.holds, first_retry)
        with suppress(AssertionError):  # something else is broken
            eventually(luck.choice([is_confirmed, is_retried, is_retried]), FIRST_SECONDS, every=0.01)
        time.sleep(luck.choice([0.0, 0.0, luck.uniform(0, YOUNG_SECONDS)]))

    def _victims(self, kind: str, luck: random.Random) -> list[Node]:
        members = list(self._broker.members)
        if kind in ("kill all nodes", "kill after a new queue"):
            return members
        if kind == "kill majority":
            return luck.sample(members, len(members) // 2 + 1)
        if kind == "kill leader":
            with suppress(AssertionError, KeyError):  # the API is behind: any node, then
                return [self._broker.leader(QUEUE)]
        return [luck.choice(members)]

    @contextmanager
    def _down(self, fault: Fault) -> Iterator[None]:
        """Around what takes nodes down: they stay so for a while, and are started again."""
        with self._broker.away():
            yield
            time.sleep(fault.seconds / 2)
            self._broker.start()

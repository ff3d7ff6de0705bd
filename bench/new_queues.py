"""Measures how old a queue must be to survive a `kill -9` of its broker, with all that was confirmed in it.

    python -m bench.new_queues few --kills 50

RQTOOL_RABBITMQ_SERVER says which RabbitMQ. Ages are seconds since the client got the declare-ok.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker

from rqtool.private_broker.cluster import PrivateBroker
from rqtool.private_broker.node import Node, runs
from rqtool.private_broker.ports import poll

MESSAGES = 5
"""Confirmed ones in each queue."""
QUIET = 3.5
"""Seconds before the first queue, so that what the start itself wrote is down. RabbitMQ's slowest delay is the 3 s of
dets, which Ra's directory of quorum queues is in; the log of Mnesia, where it still is the schema's, has 2 s."""
PATIENCE = 8.0
"""Seconds that a queue has after a restart to show what it has."""
KINDS = ("classic", "quorum")
_WAITING: dict[str, str | int] = {
    "x-message-ttl": 86_400_000,
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": "home",
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}


@dataclass(frozen=True)
class Plan:
    """One queue; ages in seconds at the kill. `before`: it had a predecessor of the same name, emptied and deleted."""

    kind: str
    declared: float
    published: float
    before: bool = False


@dataclass
class Fate:
    """What became of a queue. `found`: messages, -1 where the queue is gone. Ages in seconds at the kill."""

    version: str
    nodes: int
    scenario: str
    kill: int
    name: str
    kind: str
    declared: float
    confirmed: float
    found: int

    @property
    def lost(self) -> bool:
        return self.found < MESSAGES


Scenario = Callable[[random.Random], list[Plan]]


def _at_once(chance: random.Random, age: float, *, before: bool = False) -> Plan:
    return Plan(chance.choice(KINDS), age, age, before)


def few(chance: random.Random) -> list[Plan]:
    """One to three new queues on a quiet broker."""
    return [_at_once(chance, chance.uniform(0, 3.5)) for _ in range(chance.randint(1, 3))]


def crowd(chance: random.Random) -> list[Plan]:
    """Sixty within three seconds."""
    return [_at_once(chance, chance.uniform(0, 3)) for _ in range(60)]


def late(chance: random.Random) -> list[Plan]:
    """The messages are confirmed just before the kill, whatever the queue's age is."""
    return [Plan(kind, chance.uniform(0.1, 3.5), 0.1) for kind in KINDS]


def again(chance: random.Random) -> list[Plan]:
    """The queue had a predecessor of the same name."""
    return [_at_once(chance, chance.uniform(0, 3.5), before=True) for _ in range(chance.randint(1, 3))]


def trickle(chance: random.Random) -> list[Plan]:
    """A new queue every 0.1 to 0.45 s: the broker is never quiet."""
    plans = [_at_once(chance, chance.uniform(0, 0.4))]
    while plans[-1].declared < 10:
        plans.append(_at_once(chance, plans[-1].declared + chance.uniform(0.1, 0.45)))
    return plans


SCENARIOS: dict[str, Scenario] = {each.__name__: each for each in (few, crowd, late, again, trickle)}


class Round:
    """One kill, what was done before it, and what is found after it."""

    def __init__(self, broker: PrivateBroker, version: str, scenario: str, kill: int) -> None:
        self._broker, self._version, self._scenario, self._kill = broker, version, scenario, kill
        self._chance = random.Random()
        self._declared: dict[str, float] = {}
        self._confirmed: dict[str, float] = {}

    def run(self) -> list[Fate]:
        plans = SCENARIOS[self._scenario](self._chance)
        queues = {f"{self._scenario}.{self._kill}.{n}": plan for n, plan in enumerate(plans)}
        nodes = self._broker.start()
        with connected(self._chance.choice(nodes)) as channel:
            for name, plan in queues.items():
                if plan.before:
                    self._declare(channel, name, plan.kind)
                    self._publish(channel, name)
            time.sleep(QUIET)
            for name, plan in queues.items():
                if plan.before:
                    channel.queue_purge(name)
                    channel.queue_delete(name)
            killed = self._fill(channel, queues)
            for node in nodes:
                os.kill(node.pid, signal.SIGKILL)
        poll(lambda: not any(runs(node) for node in nodes), PATIENCE)
        nodes = self._broker.start()
        found = self._look(nodes[0], list(queues))
        where = (self._version, len(nodes), self._scenario, self._kill)
        ages = {
            name: (round(killed - self._declared[name], 3), round(killed - self._confirmed[name], 3)) for name in found
        }
        return [Fate(*where, name, plan.kind, *ages[name], found[name]) for name, plan in queues.items()]

    def _fill(self, channel: BlockingChannel, queues: dict[str, Plan]) -> float:
        """Declare and publish at the moments planned; returns when it is time to kill."""
        end = time.monotonic() + max(plan.declared for plan in queues.values()) + 0.1
        steps = [(end - plan.declared, 0, name) for name, plan in queues.items()]
        steps += [(end - plan.published, 1, name) for name, plan in queues.items()]
        for moment, step, name in sorted(steps):
            time.sleep(max(0.0, moment - time.monotonic()))
            if step == 0:
                self._declare(channel, name, queues[name].kind)
            else:
                self._publish(channel, name)
        time.sleep(max(0.0, end - time.monotonic()))
        return time.monotonic()

    def _declare(self, channel: BlockingChannel, name: str, kind: str) -> None:
        arguments: dict[str, str | int] = {"x-queue-type": kind}
        if kind == "quorum" and self._chance.random() < 0.5:
            arguments |= _WAITING
        channel.queue_declare(name, durable=True, arguments=arguments)
        self._declared[name] = time.monotonic()

    def _publish(self, channel: BlockingChannel, name: str) -> None:
        properties = pika.BasicProperties(delivery_mode=2)  # type: ignore[no-untyped-call]
        for _ in range(MESSAGES):
            channel.basic_publish("", name, b"task", properties, mandatory=True)
        self._confirmed[name] = time.monotonic()

    def _look(self, node: Node, names: Sequence[str]) -> dict[str, int]:
        """Count what is there, and delete the queues. One that shows less than it got has PATIENCE for more: a quorum
        queue counts nothing before it has a leader.
        """
        found = dict.fromkeys(names, 0)
        deadline = time.monotonic() + PATIENCE
        while short := [name for name in names if 0 <= found[name] < MESSAGES]:
            for name in short:
                found[name] = self._count(node, name)
            if time.monotonic() > deadline:
                break
            time.sleep(0.3)
        for name in names:
            # Without a leader it can't be deleted either.
            with connected(node) as channel, suppress(AMQPError):
                channel.queue_delete(name)
        return found

    def _count(self, node: Node, name: str) -> int:
        with connected(node) as channel:
            try:
                return int(channel.queue_declare(name, durable=True, passive=True).method.message_count)
            except ChannelClosedByBroker as closed:
                return -1 if closed.reply_code == 404 and "no queue" in closed.reply_text else 0


@contextmanager
def connected(node: Node) -> Iterator[BlockingChannel]:
    """A channel with confirms on a connection of its own; nothing is said where the broker has gone meanwhile."""
    connection = pika.BlockingConnection(pika.URLParameters(f"{node.amqp_url}?heartbeat=0"))
    channel = connection.channel()
    channel.confirm_delivery()
    try:
        yield channel
    finally:
        with suppress(AMQPError, OSError):
            connection.close()


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """So many processes that do nothing as fast as they can."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def table(fates: Sequence[Fate]) -> str:
    """Lost queues of all, by version, scenario, kind and tenth of a second."""
    groups: dict[tuple[str, int, str, str], list[Fate]] = {}
    for fate in fates:
        groups.setdefault((fate.version, fate.nodes, fate.scenario, fate.kind), []).append(fate)
    texts = []
    for (version, nodes, scenario, kind), group in sorted(groups.items()):
        lost = [fate for fate in group if fate.lost]
        kills = len({(fate.kill, fate.name.split(".")[1]) for fate in group})
        text = f"{version} nodes={nodes} {scenario} {kind}: kills {kills}, queues {len(group)}, lost {len(lost)}"
        if lost:
            gone, empty = sum(fate.found < 0 for fate in lost), sum(fate.found == 0 for fate in lost)
            declared, confirmed = max(fate.declared for fate in lost), max(fate.confirmed for fate in lost)
            text += f" (gone {gone}, empty {empty}, short {len(lost) - gone - empty}); the oldest of them"
            text += f" {declared:.2f} s after declare-ok, {confirmed:.2f} s after the last confirm"
        every = Counter(int(fate.declared * 10) for fate in group)
        bad = Counter(int(fate.declared * 10) for fate in lost)
        cells = [f"{tenth / 10:.1f}:{bad[tenth]}/{every[tenth]}" for tenth in sorted(every)]
        rows = [" ".join(cells[start : start + 10]) for start in range(0, len(cells), 10)]
        texts.append("\n    ".join([text, *rows]))
    return "\n".join(texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", choices=[*SCENARIOS, "table"], help="table: only print what --log holds")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--busy", type=int, default=0, help="processes that take the processor from the broker")
    parser.add_argument("--log", type=Path, help="append what is found to this file, and print all that it holds")
    options = parser.parse_args()
    known = options.log.read_text().splitlines() if options.log and options.log.exists() else []
    fates = [Fate(**json.loads(line)) for line in known]
    if options.scenario != "table":
        fates += measure(options)
    print(table(fates))


def measure(options: argparse.Namespace) -> list[Fate]:
    fates: list[Fate] = []
    with tempfile.TemporaryDirectory(prefix="newq") as home, busy(options.busy):
        broker = PrivateBroker(Path(home))
        nodes = broker.start(options.nodes)
        version = _version(nodes[0]) + (f" busy {options.busy}" if options.busy else "")
        try:
            for _ in range(options.kills):
                # Names differ from run to run: the table counts kills by them.
                fresh = Round(broker, version, options.scenario, time.time_ns() // 1_000_000).run()
                fates += fresh
                if options.log:
                    with options.log.open("a") as file:
                        file.write("".join(json.dumps(asdict(fate)) + "\n" for fate in fresh))
        finally:
            broker.stop()
    return fates


def _version(node: Node) -> str:
    connection = pika.BlockingConnection(pika.URLParameters(node.amqp_url))
    properties = connection._impl.server_properties or {}
    connection.close()
    return str(properties["version"])


if __name__ == "__main__":
    main()

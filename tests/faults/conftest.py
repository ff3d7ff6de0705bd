"""A broker to kill, of one node or (--nodes 3) a cluster, and the account of what became of each task."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from rqtool.private_broker.cluster import PrivateBroker
from rqtool.private_broker.node import Node, runs
from rqtool.private_broker.rabbitmqctl import rabbitmqctl
from tests.proxy import Proxy
from tests.tools import Program, Vhost, eventually, sigkill

WINDOW = 10_000
"""Messages that may be on their way unconfirmed: what one fault can make unknown."""


@dataclass
class Arena:
    """A vhost on a broker that may be killed, and the program pointed at all of its nodes."""

    broker: PrivateBroker
    vhost: Vhost
    rqtool: Program

    def create(self, queue: str, kind: str) -> None:
        """Make a queue that a crash does not forget: RabbitMQ's Mnesia writes new ones down some seconds later."""
        assert self.rqtool("send", "-q", queue, "--type", kind, "--quiet").code == 0
        for node in self.broker.running():
            rabbitmqctl(node, "eval", "catch disk_log:sync(latest_log).")

    def leader(self, queue: str) -> Node:
        """The node where the queue lives, or its leader does."""
        row = self.vhost.row(queue)
        name = row.get("leader") or row["node"]
        return next(node for node in self.broker.members() if node.name == name)

    def kill(self, *nodes: Node) -> None:
        """SIGKILL, and look elsewhere from now on."""
        for node in nodes:
            sigkill(node.pid)
        eventually(lambda: not any(runs(node) for node in nodes))
        alive = self.broker.running()
        if alive:
            self.vhost.node = alive[0]

    def restart(self) -> None:
        """Start what was killed, on its old data."""
        self.vhost.nodes = self.broker.start()
        self.vhost.node = self.vhost.nodes[0]

    @contextmanager
    def frozen(self, node: Node) -> Iterator[None]:
        """SIGSTOP: connections stay open, and nothing answers."""
        os.kill(node.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(node.pid, signal.SIGCONT)

    @contextmanager
    def proxy(self) -> Iterator[Proxy]:
        """Between the program and the first node; the program goes through it alone, with a heartbeat of 5 s."""
        proxy = Proxy(self.vhost.node.amqp_port)
        self.vhost.query = "?heartbeat=5"
        direct = self.rqtool.environment
        self.rqtool.environment = direct | {"RQTOOL_URL": self.vhost.url_at(proxy.port)}
        try:
            yield proxy
        finally:
            proxy.close()
            self.rqtool.end_all()
            self.vhost.query, self.rqtool.environment = "", direct


@pytest.fixture(scope="session")
def mortal(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[PrivateBroker]:
    """The broker that the tests of this folder kill, and start again."""
    local = PrivateBroker(tmp_path_factory.mktemp("mortal"))
    local.start(pytestconfig.getoption("--nodes"))
    try:
        yield local
    finally:
        local.stop()


@pytest.fixture
def arena(mortal: PrivateBroker, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Arena]:
    """The broker, all of it up, with a vhost named after the test."""
    nodes = mortal.start()
    vhost = Vhost(nodes[0], request.node.name[:80], nodes=nodes)
    vhost.create()
    rqtool = Program(vhost.environment, cwd=tmp_path)
    yield Arena(mortal, vhost, rqtool)
    rqtool.end_all()
    vhost.nodes = mortal.start()
    vhost.node = vhost.nodes[0]
    vhost.delete()


def settle_account(
    confirmed: Iterable[bytes],
    *,
    completed: Iterable[bytes] = (),
    dead: Iterable[bytes] = (),
    queued: Iterable[bytes] = (),
    sent: Iterable[bytes] | None = None,
    most_duplicates: int = 0,
) -> int:
    """Every confirmed task is completed, dead or queued, and each of those was sent. Returns how many copies there are
    beyond the first.

    `sent`: what was handed over, confirmed or not; None: all of it was confirmed.
    """
    copies = Counter([*completed, *dead, *queued])
    confirmed = set(confirmed)
    assert confirmed - set(copies) == set(), "lost"
    assert set(copies) - (confirmed if sent is None else set(sent)) == set(), "nobody sent them"
    duplicates = sum(copies.values()) - len(copies)
    assert duplicates <= most_duplicates
    return duplicates


def logged(rqtool: Program, name: str = "done") -> list[bytes]:
    """The lines that tasks wrote when they were done."""
    path = rqtool.cwd / name
    return path.read_bytes().splitlines() if path.exists() else []

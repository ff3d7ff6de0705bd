"""The private broker that the soak breaks, and eyes on what is in it."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import pika
from pika.exceptions import AMQPError

from rqtool.errors import RqtoolError
from rqtool.private_broker.cluster import PrivateBroker
from rqtool.private_broker.node import Node, runs
from rqtool.private_broker.rabbitmqctl import rabbitmqctl
from tests.soak.journal import Journal
from tests.tools import Vhost, eventually, sigkill

TRIES = 3
CTL_SECONDS = 60.0
AFTERWARDS = 20.0
"""Seconds after an absence in which a program may still have seen nothing of the broker."""


class Broker:
    """A node or a cluster in a folder. Its one vhost is the default one, as old as the broker itself."""

    def __init__(self, home: Path, nodes: int, journal: Journal) -> None:
        self._local = PrivateBroker(home)
        self._journal = journal
        self._absences = 0
        self._lock = threading.Lock()
        self._stopped = False
        self._back = float("-inf")
        self.vhost: Vhost
        self.start(nodes)

    @property
    def environment(self) -> dict[str, str]:
        """Where the program finds it: the one place that knows addresses and login."""
        return self.vhost.environment

    @property
    def members(self) -> tuple[Node, ...]:
        return self._local.members()

    @property
    def was_away(self) -> bool:
        """Whether some node is down or frozen, or was a moment ago."""
        return bool(self._absences) or time.monotonic() - self._back < AFTERWARDS

    @contextmanager
    def away(self) -> Iterator[None]:
        self._absences += 1
        try:
            yield
        finally:
            self._back = time.monotonic()
            self._absences -= 1

    def start(self, nodes: int | None = None) -> None:
        """Start what does not run. Raises RqtoolError where it does not come up, not even at the third try."""
        with self._lock:
            if self._stopped:
                return
            for attempt in range(1, TRIES + 1):
                try:
                    members = self._local.start(nodes)
                    break
                except RqtoolError as error:
                    self._journal.say(f"the broker does not start: {error.what}")
                    if attempt == TRIES:
                        raise
            self.vhost = Vhost(members[0], "/", nodes=members)

    def stop(self) -> None:
        """Stop it for good: a fault that is not over yet does not start it again."""
        with self._lock:
            self._stopped = True
            for node in self._local.running():
                os.kill(node.pid, signal.SIGCONT)
            self._local.stop()

    def kill(self, *nodes: Node) -> None:
        for node in nodes:
            with suppress(ProcessLookupError):
                sigkill(node.pid)
        eventually(lambda: not any(runs(node) for node in nodes))

    def terminate(self, node: Node) -> None:
        os.kill(node.pid, signal.SIGTERM)
        eventually(lambda: not runs(node), 60)

    def restart(self) -> None:
        """Restart all nodes: a quorum queue of RabbitMQ 3.10 on three nodes was seen to hold messages for a consumer
        that was gone; they were ready after that.
        """
        for node in self._local.running():
            self.terminate(node)
        self.start()

    def figures(self) -> list[str]:
        """What queues hold, and what each channel does."""
        found = []
        for kind in (f"queues/{self.vhost.path}", "channels"):
            columns = "name,messages_ready,messages_unacknowledged,connection_details.name,leader"
            rows = self.vhost.api("GET", f"/api/{kind}?columns={columns}")
            found += [row for row in rows if row.get("messages_ready") or row.get("messages_unacknowledged")]
        return [json.dumps(row) for row in found]

    def leader(self, queue: str) -> Node:
        """The node where the queue lives, or its leader does."""
        row = self.vhost.row(queue)
        name = row.get("leader") or row["node"]
        return next(node for node in self.members if node.name == name)

    def ctl(self, node: Node, *words: str) -> bool:
        """Tell a node by rabbitmqctl. Returns whether it could be told: a busy machine may take too long."""
        try:
            rabbitmqctl(node, *words, seconds=CTL_SECONDS)
        except RqtoolError as error:
            self._journal.say(str(error))
            return False
        return True

    def close_connections(self) -> int:
        """Close all that the management API knows of: those that are some seconds old."""
        rows = self.vhost.api("GET", "/api/connections")
        for row in rows:
            with suppress(AssertionError):  # 404: it went by itself
                self.vhost.api("DELETE", f"/api/connections/{quote(row['name'], safe='')}")
        return len(rows)

    def write_down(self) -> None:
        """Have the nodes write down what queues there are: RabbitMQ's Mnesia does so some seconds later."""
        for node in self._local.running():
            self.ctl(node, "eval", "catch disk_log:sync(latest_log).")

    def queues(self) -> list[str]:
        return sorted(row["name"] for row in self.vhost.api("GET", f"/api/queues/{self.vhost.path}?disable_stats=true"))

    def holds(self, queue: str) -> bool:
        """Whether messages are ready in it, as far as can be seen."""
        try:
            return self.vhost.ready(queue) > 0
        except (AMQPError, OSError):
            return False

    def take(self, queue: str) -> list[tuple[pika.BasicProperties, bytes]]:
        return self.vhost.take_all(queue)

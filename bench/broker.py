"""The broker that everybody is measured on: a private node, gone at the end."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pika
import pika.exceptions

from bench.peers.frames import Wire, copies, encoded
from rqtool.private_broker.cluster import PrivateBroker
from rqtool.private_broker.node import Node
from rqtool.private_broker.server import find_server


@dataclass(frozen=True, slots=True)
class Broker:
    """A node, what it says of itself, and a folder for whatever a measurement needs."""

    node: Node
    folder: Path
    rabbitmq: str
    erlang: str

    @property
    def url(self) -> str:
        return self.node.amqp_url

    @property
    def environment(self) -> dict[str, str]:
        """Of every program that is measured. A Python that may not keep what it has compiled would do so each time."""
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        return inherited | {"RQTOOL_URL": self.url, "RQTOOL_API_URL": self.node.api_url}

    @property
    def rabbitmqctl(self) -> Path:
        return find_server().with_name("rabbitmqctl")

    def fresh(self, queue: str, kind: str = "classic") -> None:
        """Make a durable queue anew, without anything in it."""
        self.delete(queue)
        with pika.BlockingConnection(pika.URLParameters(self.url)) as connection:
            connection.channel().queue_declare(queue, durable=True, arguments={"x-queue-type": kind})

    def delete(self, *queues: str) -> None:
        with pika.BlockingConnection(pika.URLParameters(self.url)) as connection:
            channel = connection.channel()
            for queue in queues:
                channel.queue_delete(queue)

    def fill(self, queue: str, tasks: Iterable[bytes]) -> None:
        """Make a durable queue anew, with these tasks in it."""
        self.fresh(queue)
        self.put(queue, tasks)

    def put(self, queue: str, tasks: Iterable[bytes]) -> None:
        """Return when all are confirmed."""
        with Wire(self.url) as wire:
            wire.publish(*encoded(queue, tasks))

    def consumers(self, queue: str) -> int:
        with pika.BlockingConnection(pika.URLParameters(self.url)) as connection:
            return int(connection.channel().queue_declare(queue, passive=True).method.consumer_count)

    def multiply(self, queue: str, count: int) -> None:
        """Replace the message of dramatiq's or celery's in a queue by `count` copies, each with an id of its own."""
        with pika.BlockingConnection(pika.URLParameters(self.url)) as connection:
            _, properties, body = connection.channel().basic_get(queue, auto_ack=True)
        if properties is None or body is None:
            raise RuntimeError(f"nothing is in {queue}")
        # The one has it in the body, the other in the properties as well.
        own_id = properties.correlation_id or json.loads(body)["message_id"]
        with Wire(self.url) as wire:
            wire.publish(*copies(queue, body, properties, own_id, count))


@contextmanager
def private_broker() -> Iterator[Broker]:
    """Start a node of RQTOOL_RABBITMQ_SERVER's, or of the one that is installed, and end it.

    Raises Unreachable where it does not come up.
    """
    with tempfile.TemporaryDirectory(prefix="rqtool-bench.") as folder:
        local = PrivateBroker(Path(folder) / "broker")
        [node] = local.start()
        try:
            with Wire(node.amqp_url) as wire:
                rabbitmq, platform = (str(wire.server[key]) for key in ("version", "platform"))
            yield Broker(node, Path(folder), rabbitmq, re.sub(r"^Erlang/OTP ", "", platform))
        finally:
            local.stop()

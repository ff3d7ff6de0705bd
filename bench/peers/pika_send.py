"""`python -m bench.peers.pika_send QUEUE FILE COUNT`: publish with pika, its confirms pipelined in rqtool's window.

The clock runs from the connection's beginning to the last confirm.
"""

from __future__ import annotations

import os
import sys
import uuid
from pathlib import Path
from typing import Any

import pika
from pika.adapters.select_connection import SelectConnection

from bench import bodies
from bench.peers.clock import clock
from bench.peers.confirms import WINDOW_BYTES, WINDOW_MESSAGES, Confirms
from bench.peers.frames import properties


class Sender:
    """Publishes whenever there is room, and stops its connection's loop at the last confirm."""

    def __init__(self, queue: str, tasks: list[bytes]) -> None:
        self._queue = queue
        self._tasks = tasks
        self._window = min(WINDOW_MESSAGES, WINDOW_BYTES // len(tasks[0]))
        self._sent = 0
        self._confirms = Confirms(len(tasks))
        self._channel: Any = None
        self._connection = SelectConnection(
            pika.URLParameters(os.environ["RQTOOL_URL"]),
            on_open_callback=self._connected,
        )

    def run(self) -> None:
        self._connection.ioloop.start()

    def _connected(self, connection: Any) -> None:
        connection.channel(on_open_callback=self._opened)

    def _opened(self, channel: Any) -> None:
        self._channel = channel
        channel.confirm_delivery(self._answered, callback=lambda _: self._publish())

    def _answered(self, answer: Any) -> None:
        self._confirms.ack(answer.method.delivery_tag, multiple=answer.method.multiple)
        if self._confirms.settled == len(self._tasks):
            self._connection.ioloop.stop()
        else:
            self._publish()

    def _publish(self) -> None:
        most = min(len(self._tasks), self._confirms.settled + self._window)
        for number in range(self._sent, most):
            self._channel.basic_publish(
                "", self._queue, self._tasks[number], properties(str(uuid.uuid4())), mandatory=True
            )
        self._sent = max(self._sent, most)


def main(queue: str, file: str, count: str) -> None:
    tasks = bodies.read(Path(file), int(count))
    with clock():
        Sender(queue, tasks).run()


if __name__ == "__main__":
    main(*sys.argv[1:])

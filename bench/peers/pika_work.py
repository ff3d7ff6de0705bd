"""`python -m bench.peers.pika_work QUEUE PREFETCH EVERY WHAT`: consume with pika alone.

Acknowledges every EVERY-th message with all before it; 1: each by itself. WHAT is a function of
bench.tasks.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import pika
from pika.adapters.select_connection import SelectConnection

from bench import tasks


def main(queue: str, prefetch: str, every: str, what: str) -> None:
    several, work = int(every), getattr(tasks, what)

    def received(channel: Any, method: Any, _: Any, body: bytes) -> None:
        work(body)
        if method.delivery_tag % several == 0:
            channel.basic_ack(method.delivery_tag, multiple=several > 1)

    def opened(channel: Any) -> None:
        channel.basic_qos(prefetch_count=int(prefetch))
        channel.basic_consume(queue, received)

    def connected(connection: Any) -> None:
        connection.channel(on_open_callback=opened)

    SelectConnection(pika.URLParameters(os.environ["RQTOOL_URL"]), on_open_callback=connected).ioloop.start()


if __name__ == "__main__":
    main(*sys.argv[1:])

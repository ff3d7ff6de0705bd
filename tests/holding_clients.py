"""Programs of others that hold messages, each in its own way: `python -m tests.holding_clients URL KIND QUEUE`.

They publish what they need, and say so with one line when they hold it.
"""

from __future__ import annotations

import sys

import pika
from pika.adapters.blocking_connection import BlockingChannel


def consume(channel: BlockingChannel, queue: str) -> None:
    channel.basic_consume(queue, lambda *_: None)


def main(url: str, kind: str, queue: str) -> None:
    parameters = pika.URLParameters(url)
    parameters.client_properties = {"connection_name": f"{kind}-import", "pid": 4242}
    connection = pika.BlockingConnection(parameters)
    channel = connection.channel()
    channel.queue_declare(queue, durable=True, auto_delete=kind == "fleeting")
    for n in range(20 if kind in ("slow", "rejecting") else 5):
        channel.basic_publish("", queue, f"{n}".encode())
    if kind == "full":
        channel.basic_qos(prefetch_count=2)
    if kind == "get":
        channel.basic_get(queue)
        channel.basic_get(queue)
    elif kind == "auto":
        channel.basic_consume(queue, lambda *_: None, auto_ack=True)
    elif kind in ("slow", "rejecting"):
        channel.basic_qos(prefetch_count=3)
        for method, _, _ in channel.consume(queue):
            print("holds", flush=True)
            connection.sleep(6)
            assert method is not None
            if kind == "slow":
                channel.basic_ack(method.delivery_tag)
            else:
                channel.basic_reject(method.delivery_tag, requeue=False)
    else:
        consume(channel, queue)
        if kind == "sharing":
            channel.queue_declare(f"{queue}.too", durable=True)
            channel.basic_publish("", f"{queue}.too", b"x")
            consume(channel, f"{queue}.too")
    print("holds", flush=True)
    while True:
        connection.process_data_events(1)


if __name__ == "__main__":
    main(*sys.argv[1:])

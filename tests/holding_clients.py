"""Programs of others that hold messages, each in its own way: `python -m tests.holding_clients URL KIND QUEUE`.

They publish what they need, and say so with one line when they hold it.
"""

from __future__ import annotations

import sys

import pika
from pika.adapters.blocking_connection import BlockingChannel

ACK_SECONDS = 6.0
"""What a slow client takes for a message; one that forgets acks for others three times as often."""


def consume(channel: BlockingChannel, queue: str) -> None:
    channel.basic_consume(queue, lambda *_: None)


def named(name: str, url: str) -> pika.URLParameters:
    parameters = pika.URLParameters(url)
    parameters.client_properties = {"connection_name": name, "pid": 4242}
    return parameters


def divided(connection: pika.BlockingConnection, channel: BlockingChannel, queue: str) -> None:
    """Acknowledge what comes from one queue, forget what came from another, on one channel."""
    other = f"{queue}.too"
    channel.queue_declare(other, durable=True)
    channel.basic_consume(queue, lambda *_: None)
    channel.basic_consume(other, lambda _, method, *__: channel.basic_ack(method.delivery_tag))
    print("holds", flush=True)
    while True:
        channel.basic_publish("", other, b"x")
        connection.sleep(ACK_SECONDS / 3)


def main(url: str, kind: str, queue: str) -> None:
    connection = pika.BlockingConnection(named(f"{kind}-import", url))
    channel = connection.channel()
    channel.queue_declare(queue, durable=True, auto_delete=kind == "fleeting")
    for n in range(200 if kind in ("slow", "rejecting", "beside") else 5):
        channel.basic_publish("", queue, f"{n}".encode())
    if kind == "beside":  # a getter that forgets, beside a consumer that works
        getter = pika.BlockingConnection(named("getter-import", url))
        got = getter.channel()
        for _ in range(3):
            got.basic_get(queue)
    if kind == "full":
        channel.basic_qos(prefetch_count=2)
    if kind == "get":
        channel.basic_get(queue)
        channel.basic_get(queue)
    elif kind == "auto":
        channel.basic_consume(queue, lambda *_: None, auto_ack=True)
    elif kind == "divided":
        divided(connection, channel, queue)
    elif kind in ("slow", "rejecting", "beside"):
        channel.basic_qos(prefetch_count=3)
        for method, _, _ in channel.consume(queue):
            print("holds", flush=True)
            connection.sleep(ACK_SECONDS)
            assert method is not None
            if kind != "rejecting":
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

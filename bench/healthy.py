"""No false accusations: 200 healthy queues under load, looked at again and again, on a private broker of its own.

`python bench/healthy.py [SECONDS]`. The consumers are fast and slow, ack one by one and in batches, reject, share their
queue, wait long for their next message; a task of theirs takes at most 40 s. Prints what `rqtool queues` said, and ends
with 1 if anybody was accused.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection

from rqtool.private_broker.cluster import PrivateBroker

QUEUES = 200
SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 240.0
KINDS = ("fast", "slow", "batch", "reject", "rare", "two")
PREFETCH = {"fast": 50, "slow": 3, "batch": 100, "reject": 5, "rare": 1, "two": 2}


async def open_channel(url: str, name: str) -> Any:
    loop = asyncio.get_running_loop()
    parameters = pika.URLParameters(url)
    parameters.client_properties = {"connection_name": name}
    opened: asyncio.Future[Any] = loop.create_future()

    def connected(connection: Any) -> None:
        connection.channel(on_open_callback=opened.set_result)

    AsyncioConnection(
        parameters,
        on_open_callback=connected,
        on_open_error_callback=lambda _, error: opened.set_exception(RuntimeError(str(error))),
        custom_ioloop=loop,
    )
    return await opened


def worker(kind: str, channel: Any) -> Callable[[Any, Any, Any, bytes], None]:
    """What a consumer of this kind does with a delivery."""
    loop = asyncio.get_running_loop()
    batch: list[int] = []

    def flush() -> None:
        if batch:
            channel.basic_ack(batch[-1], multiple=True)
            batch.clear()
        loop.call_later(20, flush)

    def received(_: Any, method: Any, *__: Any) -> None:
        tag = method.delivery_tag
        if kind == "fast":
            channel.basic_ack(tag)
        elif kind == "batch":
            batch.append(tag)
        elif kind == "reject":
            loop.call_later(random.uniform(0, 20), lambda: channel.basic_reject(tag, requeue=False))
        else:
            loop.call_later(random.uniform(0, 40), lambda: channel.basic_ack(tag))

    if kind == "batch":
        loop.call_later(20, flush)
    return received


async def look(environment: dict[str, str]) -> list[dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rqtool", "queues", "--json", env=environment, stdout=subprocess.PIPE
    )
    out, _ = await process.communicate()
    rows: list[dict[str, Any]] = json.loads(out)
    return rows


async def run(url: str, environment: dict[str, str]) -> int:
    publisher = await open_channel(url, "publisher")
    kinds = [KINDS[n % len(KINDS)] for n in range(QUEUES)]
    for n, kind in enumerate(kinds):
        type_ = "quorum" if n % 10 == 9 else "classic"
        publisher.queue_declare(f"{kind}-{n:03}", durable=True, arguments={"x-queue-type": type_})
    await asyncio.sleep(10)
    for n, kind in enumerate(kinds):
        for number in range(5 if kind == "rare" else 2 if kind == "two" else 1):
            channel = await open_channel(url, f"{kind}-{n:03}-{number}")
            channel.basic_qos(prefetch_count=PREFETCH[kind])
            channel.basic_consume(f"{kind}-{n:03}", worker(kind, channel))
    pause = {"fast": 0.3, "slow": 14, "batch": 1.0, "reject": 2.0, "rare": 20, "two": 12}
    next_one = [random.uniform(0, pause[kind]) for kind in kinds]
    started = time.monotonic()
    looks, accused, verdicts, took = 0, [], Counter[str](), 0.0
    looking: asyncio.Task[list[dict[str, Any]]] | None = None
    while (now := time.monotonic() - started) < SECONDS:
        for n, kind in enumerate(kinds):
            if next_one[n] <= now:
                publisher.basic_publish("", f"{kind}-{n:03}", b"x" * 100)
                next_one[n] = now + pause[kind] * random.uniform(0.2, 1.8)
        if looking is None:
            begun, looking = time.monotonic(), asyncio.ensure_future(look(environment))
        elif looking.done():
            rows, looking = looking.result(), None
            looks, took = looks + 1, took + time.monotonic() - begun
            verdicts.update(row["verdict"] for row in rows)
            accused += [row for row in rows if row["verdict"] in ("starved", "forgotten ack?")]
        await asyncio.sleep(0.02)
    if looking is not None:
        await looking
    print(f"{looks} looks at {QUEUES} queues ({took / looks:.2f} s each): {dict(verdicts)}")
    for row in accused:
        print(json.dumps(row))
    print(f"accused: {len(accused)}")
    return 1 if accused else 0


def main() -> int:
    """Begin and end a broker around it."""
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="rqtool-bench.") as folder:
        broker = PrivateBroker(Path(folder) / "broker")
        [node] = broker.start()
        environment = os.environ | {"RQTOOL_URL": node.amqp_url, "RQTOOL_API_URL": node.api_url}
        try:
            return asyncio.run(run(node.amqp_url, environment))
        finally:
            broker.stop()


if __name__ == "__main__":
    sys.exit(main())

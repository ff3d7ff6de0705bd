#!/usr/bin/env python3
"""The pictures of the documentation, from a real run on a RabbitMQ of its own: `make pictures`. Takes three minutes."""

from __future__ import annotations

import io
import logging
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pika
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console, RenderableType

from rqtool.endpoint.find import find_endpoint
from rqtool.endpoint.urls import Endpoint
from rqtool.management.api import Management
from rqtool.private_broker.cluster import PrivateBroker
from rqtool.queues.columns import ordered
from rqtool.queues.screen import draw
from rqtool.queues.snapshot import take_snapshot
from rqtool.queues.table import queue_table
from rqtool.queues.watch import Watch

DOCS = Path(__file__).parents[1] / "docs"
WIDTH, HEIGHT = 100, 20
SECONDS = 160
"""Until the trend lines are full."""


def client(url: str, name: str, queue: str, *, prefetch: int, pause: float | None, pid: int) -> None:
    """A consumer that works for `pause` seconds on each message; None: and forgets its ack."""
    parameters = pika.URLParameters(url)
    parameters.client_properties = {"connection_name": name, "pid": pid}
    connection = pika.BlockingConnection(parameters)
    channel = connection.channel()
    channel.basic_qos(prefetch_count=prefetch)
    with suppress(pika.exceptions.AMQPError):
        for method, _, _ in channel.consume(queue):
            if pause is not None and method is not None:
                connection.sleep(pause * random.uniform(0.5, 1.5))
                channel.basic_ack(method.delivery_tag)


def send_in_waves(url: str, queue: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    with suppress(pika.exceptions.AMQPError):
        while True:
            rate = random.choice([1, 3, 6])
            for _ in range(rate * 10):
                channel.basic_publish("", queue, b"a photo")
                connection.sleep(1 / rate)


def rqtool(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "rqtool", *arguments]


def photograph(name: str, title: str, thing: RenderableType, width: int, height: int) -> None:
    console = Console(record=True, width=width, height=height, file=io.StringIO(), force_terminal=True)
    console.print(thing)
    DOCS.mkdir(exist_ok=True)
    # A picture fetches nothing: the reader's own monospaced font will do.
    form = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    console.save_svg(str(DOCS / f"{name}.svg"), title=title, code_format=form)
    print(DOCS / f"{name}.svg")


def run(url: str, endpoint: Endpoint, folder: Path, environment: dict[str, str]) -> None:
    script = folder / "convert.sh"
    script.write_text("#!/bin/sh\nsleep 600\n")
    script.chmod(0o755)
    for queue, count in (("billing", 3), ("convert", 40), ("mails", 9), ("reports", 7), ("photos", 1_900)):
        tasks = "".join(f"{n}\n" for n in range(count))
        subprocess.run(rqtool("send", "-q", queue, "--quiet"), input=tasks.encode(), env=environment, check=True)
    subprocess.run(rqtool("send", "-q", "exports", "--quiet", "one", "two"), env=environment, check=True)
    subprocess.run(
        rqtool("work", "-q", "exports", "--drain", "--quiet", "--retry-delays", "none", "--", "false"),
        env=environment, stderr=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    worker = subprocess.Popen(rqtool("work", "-q", "convert", "-j", "4", "--quiet", "--", str(script)), env=environment)
    try:
        for target, arguments, options in (
            (client, (url, "billing-import", "billing"), {"prefetch": 10, "pause": None, "pid": 4242}),
            (client, (url, "mailer", "mails"), {"prefetch": 4, "pause": None, "pid": 911}),
            (client, (url, "resizer", "photos"), {"prefetch": 20, "pause": 0.08, "pid": 1207}),
            (send_in_waves, (url, "photos"), {}),
        ):
            threading.Thread(target=target, args=arguments, kwargs=options, daemon=True).start()
        time.sleep(SECONDS)
        now = datetime.now().astimezone()
        seen = take_snapshot(Management(endpoint.api_urls), endpoint.vhost, 60.0, now)
        table = queue_table(ordered(seen.diagnoses, "verdict"), vhosts=False, width=WIDTH)
        photograph("queues", "rqtool queues", table, WIDTH, HEIGHT)
        frame = Watch(endpoint, endpoint.vhost, None, 60.0, 2.0).ask(Management(endpoint.api_urls))
        screen = Console(width=WIDTH, height=HEIGHT, file=io.StringIO(), force_terminal=True)
        photograph("watch", "rqtool queues --watch", draw(frame, now, screen), WIDTH, HEIGHT)
    finally:
        worker.terminate()
        with suppress(subprocess.TimeoutExpired):
            worker.wait(2)
        worker.kill()


def main() -> None:
    """Begin and end a broker around it."""
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="rqtool-pictures.") as folder:
        broker = PrivateBroker(Path(folder) / "broker")
        [node] = broker.start()
        environment = os.environ | {"RQTOOL_URL": node.amqp_url, "RQTOOL_API_URL": node.api_url}
        try:
            run(node.amqp_url, find_endpoint(node.amqp_url, node.api_url), Path(folder), environment)
        finally:
            broker.stop()


if __name__ == "__main__":
    main()

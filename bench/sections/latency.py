"""How long a task is on its way to an idle worker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pika

from bench.broker import Broker
from bench.figures import Group, Row, Sample, percentile
from bench.process import PYTHON, Command
from bench.sections.calls import rqtool
from bench.turns import Size, in_turn
from bench.workers import running

QUEUE = "bench-latency"
OURS, PIKA = "rqtool work --call", "pika"
PAUSE = 0.005
"""Seconds between tasks: time enough to be idle again."""
PERCENTILES = (50, 99)


def measure(broker: Broker, size: Size) -> list[Group]:
    """From publishing to the first line of the function, and of pika's callback."""
    count = size.of(500)
    found: dict[str, list[list[float]]] = {OURS: [], PIKA: []}

    def take(name: str, command: Command) -> Sample:
        delays = _delays(broker, command, count)
        found[name].append(delays)
        return Sample(percentile(delays, PERCENTILES[0]))

    commands = {
        OURS: rqtool(QUEUE, 1, "delay"),
        PIKA: [PYTHON, "-m", "bench.peers.pika_work", QUEUE, "1", "1", "delay"],
    }
    in_turn({name: partial(take, name, command) for name, command in commands.items()})
    return [_group(found, percent, count) for percent in PERCENTILES]


def _group(found: dict[str, list[list[float]]], percent: int, count: int) -> Group:
    rows = [
        Row(name, [percentile(delays, percent) for delays in rounds], compare=None if name == OURS else (OURS, name))
        for name, rounds in found.items()
    ]
    return Group(f"{percent} of 100 tasks within ({count:,} a round)", "ms", rows, f"{OURS} to it")


def _delays(broker: Broker, command: Command, count: int) -> list[float]:
    """Return the milliseconds that each of `count` tasks was on its way, after a first one that found nobody."""
    file = broker.folder / "delays"
    file.unlink(missing_ok=True)
    broker.fresh(QUEUE)
    stamping = broker.environment | {"BENCH_STAMPS": str(file)}
    with running([command], stamping, broker.folder / "workers.log") as workers, _channel(broker.url) as channel:
        _send(channel)
        workers.wait_until(lambda: _lines(file) == 1)
        for _ in range(count):
            time.sleep(PAUSE)
            _send(channel)
        workers.wait_until(lambda: _lines(file) == 1 + count)
    return [int(line) / 1e6 for line in file.read_text().splitlines()[1:]]


@contextmanager
def _channel(url: str) -> Iterator[Any]:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        yield connection.channel()


def _send(channel: Any) -> None:
    channel.basic_publish("", QUEUE, b"%d" % time.time_ns())


def _lines(file: Path) -> int:
    return file.read_text().count("\n") if file.exists() else 0

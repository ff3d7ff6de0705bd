"""How much memory it takes as inputs, prefetches and queues get many."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pika

from bench import bodies
from bench.broker import Broker
from bench.figures import Group, Row, Sample
from bench.process import RQTOOL, Ended, run
from bench.sections.calls import rqtool
from bench.turns import Size, Turn, measured

QUEUE = "bench-memory"
LOOKS = 3


def measure(broker: Broker, size: Size) -> list[Group]:
    """The longest input takes minutes; it is left out when it has to be quick."""
    lines = [10_000, 100_000] if size.quick else [10_000, 1_000_000, 5_000_000]
    groups = [_send(broker, lines), _work(broker, size.of(10_000)), *_queues(broker, size.of(5_000))]
    broker.delete(QUEUE)
    return groups


def _send(broker: Broker, counts: list[int]) -> Group:
    def peak(count: int) -> Sample:
        broker.fresh(QUEUE)
        file = bodies.write(broker.folder / "memory", bodies.short(count))
        with file.open("rb") as stdin:
            ended = run([RQTOOL, "send", "--queue", QUEUE, "--quiet"], broker.environment, stdin)
        return Sample(ended.peak, ended.cpu / count)

    least, *_ = names = [f"send, {count:,} lines" for count in counts]
    turns = {
        name: Turn(partial(peak, count), before="" if name == least else least)
        for name, count in zip(names, counts, strict=True)
    }
    return measured("rqtool send", "MB", turns, rounds=1, heading="more than the least", difference=True)


def _work(broker: Broker, count: int) -> Group:
    def peak(prefetch: int) -> Sample:
        broker.fill(QUEUE, bodies.short(count))
        ended = run([*rqtool(QUEUE, prefetch), "--max-tasks", str(count)], broker.environment)
        return Sample(ended.peak, ended.cpu / count)

    one, thousand = "work, prefetch 1", "work, prefetch 1,000"
    turns = {one: Turn(partial(peak, 1)), thousand: Turn(partial(peak, 1_000), before=one)}
    return measured(
        f"rqtool work, {count:,} tasks", "MB", turns, rounds=1, heading="more than the least", difference=True
    )


def _queues(broker: Broker, count: int) -> list[Group]:
    few = _looks(broker)
    names = [f"bench-many-{number}" for number in range(count)]
    with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        channel = connection.channel()
        for name in names:
            channel.queue_declare(name, durable=True)
    many = _looks(broker)
    broker.delete(*names)
    one, all_of_them = "queues, 1 queue", f"queues, {count:,} queues"

    def group(unit: str, values: Callable[[list[Ended]], list[float]]) -> Group:
        rows = [Row(one, values(few)), Row(all_of_them, values(many), compare=(all_of_them, one))]
        return Group("rqtool queues", unit, rows, "more than the least", difference=True)

    return [
        group("MB", lambda looks: [look.peak for look in looks]),
        group("s", lambda looks: [look.seconds for look in looks]),
    ]


def _looks(broker: Broker) -> list[Ended]:
    return [run([RQTOOL, "queues"], broker.environment) for _ in range(LOOKS)]

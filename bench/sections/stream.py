"""A stream of tasks from a file: `rqtool send` beside other senders."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import bodies
from bench.broker import Broker
from bench.figures import Group, Sample
from bench.process import PEERS, PYTHON, RQTOOL, Command, Ended, run
from bench.turns import Size, Turn, measured

QUEUE, DRAMATIQ_QUEUE, CELERY_QUEUE = "bench-stream", "bench-dramatiq", "bench-celery"
"""The peers' queues are named in their modules."""
OURS, WHOLE = "rqtool send", "rqtool send, whole process"
FEW = 5_000
"""What the slow ones send: enough for a rate."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A file with `count` tasks, one a line, and the kind of the queue that they go to."""

    broker: Broker
    file: Path
    count: int
    kind: str

    def by_program(self, command: Command) -> Ended:
        self.broker.fresh(QUEUE, self.kind)
        with self.file.open("rb") as lines:
            return run(command, self.broker.environment, stdin=lines)

    def whole(self, ended: Ended) -> Sample:
        """The whole process, as its user sees it."""
        return Sample(self.count / ended.seconds, ended.cpu / self.count)

    def by_script(self, python: str | Path, module: str, queue: str, count: int) -> Sample:
        """By its own clock."""
        if queue == QUEUE:
            self.broker.fresh(QUEUE, self.kind)
        else:
            self.broker.delete(queue)
        command = [python, "-m", f"bench.peers.{module}", queue, self.file, str(count)]
        seconds, cpu = run(command, self.broker.environment).own
        return Sample(count / seconds, cpu / count)


def measure(broker: Broker, size: Size) -> list[Group]:
    """On classic and on quorum queues, short tasks and long ones. dramatiq and celery make queues of one kind."""
    short, long = size.of(200_000), size.of(20_000)
    lines = bodies.write(broker.folder / "short", bodies.short(short))
    blocks = bodies.write(broker.folder / "long", bodies.long(long))
    return [
        _group(Stream(broker, lines, short, "classic"), "short lines", size.of(FEW)),
        _group(Stream(broker, blocks, long, "classic"), "10 kB", size.of(FEW)),
        _group(Stream(broker, lines, short, "quorum"), "short lines"),
        _group(Stream(broker, blocks, long, "quorum"), "10 kB"),
    ]


def _group(stream: Stream, what: str, few: int = 0) -> Group:
    """`few`: how many the slow peers send; without it they don't take part."""
    runs: list[Ended] = []

    def rqtool() -> Sample:
        runs.append(stream.by_program([RQTOOL, "send", "--queue", QUEUE, "--json"]))
        return Sample(stream.count / json.loads(runs[-1].stdout)["seconds"], runs[-1].cpu / stream.count)

    c = ["amqp-publish", f"--url={stream.broker.url}", f"--routing-key={QUEUE}", "--persistent", "--line-buffered"]
    turns = {
        OURS: Turn(rqtool, "by its own clock"),
        WHOLE: Turn(lambda: stream.whole(runs[-1]), "the same run", ours=""),
        "raw frames": _beside(stream, PYTHON, "raw_send", QUEUE, stream.count, "encoded beforehand"),
        "amqp-publish": Turn(lambda: stream.whole(stream.by_program(c)), "C, unconfirmed", ours=WHOLE),
        "pika": _beside(stream, PYTHON, "pika_send", QUEUE, stream.count, "confirms pipelined"),
    }
    if few:
        python = PEERS / "python"
        note = f"{few:,} messages"
        turns["dramatiq"] = _beside(stream, python, "dramatiq_app", DRAMATIQ_QUEUE, few, note)
        turns["celery"] = _beside(stream, python, "celery_app", CELERY_QUEUE, few, note)
    return measured(f"{stream.count:,} x {what}, {stream.kind} queue", "/s", turns, OURS)


def _beside(stream: Stream, python: str | Path, module: str, queue: str, count: int, note: str) -> Turn:
    return Turn(partial(stream.by_script, python, module, queue, count), note)

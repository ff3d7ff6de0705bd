"""Functions that do nothing: what a worker itself costs."""

from __future__ import annotations

from functools import partial

from bench import bodies
from bench.broker import Broker
from bench.figures import Group, Sample
from bench.process import PEERS, PYTHON, RQTOOL, Command, run
from bench.turns import Size, Turn, measured
from bench.workers import rate

QUEUE, DRAMATIQ_QUEUE, CELERY_QUEUE = "bench-calls", "bench-dramatiq", "bench-celery"
"""The peers' queues are named in their modules."""
OURS = "rqtool work --call"
PREFETCH = 100


def measure(broker: Broker, size: Size) -> list[Group]:
    """One worker of each kind."""
    many, few = size.of(30_000), size.of(10_000)
    one = bodies.write(broker.folder / "one", bodies.short(1))

    def ours(command: Command) -> Sample:
        broker.fill(QUEUE, bodies.short(many))
        return rate(broker, command, many, {})

    def theirs(module: str, queue: str, command: Command, prefetch: int = PREFETCH) -> Sample:
        """Their first task is sent by themselves, since their messages are their own."""
        broker.delete(queue)
        run([PEERS / "python", "-m", f"bench.peers.{module}", queue, one, "1"], broker.environment)
        broker.multiply(queue, few)
        return rate(broker, command, few, {"dramatiq_queue_prefetch": str(prefetch), "BENCH_PREFETCH": str(prefetch)})

    def dramatiq(threads: int, prefetch: int = PREFETCH) -> Turn:
        one_process = ["bench.peers.dramatiq_app", "--processes", "1", "--threads", str(threads)]
        command: Command = [PEERS / "dramatiq", *one_process]
        return Turn(partial(theirs, "dramatiq_app", DRAMATIQ_QUEUE, command, prefetch), f"{few:,} tasks")

    def celery(pool: str) -> Turn:
        app = ["--app", "bench.peers.celery_app", "worker", "--pool", pool, "--concurrency", "1"]
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR"]
        return Turn(partial(theirs, "celery_app", CELERY_QUEUE, [PEERS / "celery", *app, *quiet]), f"{few:,} tasks")

    pika = [PYTHON, "-m", "bench.peers.pika_work", QUEUE, str(PREFETCH)]
    turns = {
        OURS: Turn(partial(ours, rqtool(QUEUE, PREFETCH))),
        "pika, single acks": Turn(partial(ours, [*pika, "1", "nothing"])),
        "pika, acks of 50 at once": Turn(partial(ours, [*pika, "50", "nothing"])),
        "dramatiq, 8 threads": dramatiq(8),
        "dramatiq, 1 thread": dramatiq(1),
        # What it takes by itself: two for each thread.
        "dramatiq, prefetch 16": dramatiq(8, 16),
        "celery, solo": celery("solo"),
        "celery, prefork": celery("prefork"),
    }
    return [measured(f"{many:,} tasks, one worker", "/s", turns, OURS)]


def rqtool(queue: str, prefetch: int, function: str = "nothing") -> Command:
    """Return a worker's command; `function` is one of bench.tasks."""
    call = f"bench.tasks:{function}"
    return [RQTOOL, "work", "--queue", queue, "--prefetch", str(prefetch), "--quiet", "--call", call]

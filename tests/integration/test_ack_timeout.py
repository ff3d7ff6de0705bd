"""The broker's own patience with an ack that does not come: https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from rqtool.private_broker.cluster import PrivateBroker
from rqtool.private_broker.rabbitmqctl import rabbitmqctl
from rqtool.topology import QueueType
from tests.old_queues import declare_all
from tests.tools import Program, Running, Vhost, eventually

SCRIPT = """
b=$(cat)
echo "begin $b $RQTOOL_TASK_ATTEMPT" >> "log-$RQTOOL_TASK_QUEUE"
while [ "$b" = fails ] && [ ! -e "go-$RQTOOL_TASK_QUEUE-$RQTOOL_TASK_ATTEMPT" ]; do sleep 0.05; done
echo "end $b $RQTOOL_TASK_ATTEMPT" >> "log-$RQTOOL_TASK_QUEUE"
[ "$b $RQTOOL_TASK_ATTEMPT" != "fails 1" ]
"""
CAME_AGAIN = "'fails' came again while it was in hand: it is not done twice"


@pytest.fixture
def impatient(broker: PrivateBroker) -> Iterator[None]:
    """The broker wants acks within three seconds, and looks every half, on channels that are opened meanwhile."""
    tell(broker, consumer_timeout=3_000, channel_tick_interval=500)
    yield
    tell(broker, consumer_timeout=1_800_000, channel_tick_interval=60_000)  # RabbitMQ's own


def tell(broker: PrivateBroker, **settings: int) -> None:
    words = [f"application:set_env(rabbit, {name}, {value})" for name, value in settings.items()]
    for node in broker.running():
        rabbitmqctl(node, "eval", f"{', '.join(words)}.")


@pytest.mark.usefixtures("impatient")
def test_a_task_longer_than_the_ack_timeout(rqtool: Program, vhost: Vhost) -> None:
    """It runs once, and its result counts: done, or failed and tried again; what waits beside it runs once too."""
    version = vhost.api("GET", "/api/overview")["rabbitmq_version"]
    kinds: list[QueueType] = ["classic", "quorum"]
    workers = {}
    for kind in kinds:
        declare_all(vhost, kind, kind, "100ms")
        assert rqtool("send", "-q", kind, "--type", kind, "fails", "short").code == 0
        options = ["-q", kind, "--type", kind, "--prefetch", "2", "--retry-delays", "100ms"]
        workers[kind] = rqtool.start("work", *options, "--drain", "--", "sh", "-c", SCRIPT)
    for attempt in (1, 2):
        for kind, worker in workers.items():
            begun = f"begin fails {attempt}"
            eventually(lambda kind=kind, begun=begun: begun in rqtool.log(f"log-{kind}"))  # type: ignore[misc]
            if kind == "quorum" or version < "4.3":  # the broker's patience ends at least once in each attempt
                wait_for_another_timeout(rqtool, kind, worker)
            (rqtool.cwd / f"go-{kind}-{attempt}").touch()
    for kind, worker in workers.items():
        ended = worker.wait()
        assert ended.code == 0, ended.stderr
        # One at a time. Whether the one beside it or its second attempt comes first is up to the broker.
        log = rqtool.log(f"log-{kind}")
        runs = [begun.removeprefix("begin ") for begun in log[::2]]
        assert log[1::2] == [f"end {run}" for run in runs]
        assert sorted(run for run in runs if not run.startswith("nudge")) == ["fails 1", "fails 2", "short 1"]
        assert len(set(runs)) == len(runs)
        eventually(lambda kind=kind: vhost.figures(kind) == (0, 0))  # type: ignore[misc]


def wait_for_another_timeout(rqtool: Program, queue: str, worker: Running) -> None:
    """Return when the worker was sent once more what it has in hand.

    A quorum queue of RabbitMQ 4.3 whose timer ended in the millisecond of its deadline sets the next one
    only when something happens in the queue (rabbit_fifo, `handle_aux`), so something does: another task comes.
    """
    times = worker.stderr.count(CAME_AGAIN) + 1

    def came_again() -> bool:
        if worker.stderr.count(CAME_AGAIN) >= times:
            return True
        assert rqtool("send", "-q", queue, f"nudge-{time.monotonic_ns()}").code == 0
        return False

    eventually(came_again, what=lambda: f"{CAME_AGAIN!r} in {worker}", every=2)

"""The broker's own patience with an ack that does not come: https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rqtool.amqp.topology import QueueType, queue_arguments
from rqtool.private_broker.cluster import PrivateBroker
from tests.tools import Program, Vhost, eventually

SCRIPT = """
b=$(cat)
echo "begin $b $RQTOOL_TASK_ATTEMPT" >> "log-$RQTOOL_TASK_QUEUE"
while [ "$b" = fails ] && [ ! -e "go-$RQTOOL_TASK_QUEUE-$RQTOOL_TASK_ATTEMPT" ]; do sleep 0.05; done
echo "end $b $RQTOOL_TASK_ATTEMPT" >> "log-$RQTOOL_TASK_QUEUE"
[ "$b $RQTOOL_TASK_ATTEMPT" != "fails 1" ]
"""
CAME_AGAIN = "'fails' came again while it was in hand: it is not done twice"


def log_of(rqtool: Program, kind: str) -> list[str]:
    path = rqtool.cwd / f"log-{kind}"
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def impatient(tmp_path: Path, pytestconfig: pytest.Config) -> Iterator[tuple[Vhost, Program]]:
    """A broker that wants acks within three seconds, and looks every half."""
    home = tmp_path / "broker"
    count = pytestconfig.getoption("--nodes")
    for folder in (home, *(home / f"node{number}" for number in range(2, count + 1))):
        folder.mkdir(mode=0o700)
        (folder / "advanced.config").write_text("[{rabbit, [{channel_tick_interval, 500}]}].")
    broker = PrivateBroker(home, {"consumer_timeout": "3000"})
    nodes = broker.start(count)
    vhost = Vhost(nodes[0], "/", nodes=nodes)
    program = Program(vhost.environment, cwd=tmp_path)
    try:
        yield vhost, program
    finally:
        program.end_all()
        broker.stop()


def test_a_task_longer_than_the_ack_timeout(impatient: tuple[Vhost, Program]) -> None:
    """It runs once, and its result counts: done, or failed and tried again; what waits beside it runs once too."""
    vhost, rqtool = impatient
    version = vhost.api("GET", "/api/overview")["rabbitmq_version"]
    kinds: list[QueueType] = ["classic", "quorum"]
    workers = {}
    for kind in kinds:
        vhost.declare(kind, **queue_arguments(kind, kind))
        assert rqtool("send", "-q", kind, "--type", kind, "fails", "short").code == 0
        options = ["-q", kind, "--type", kind, "--prefetch", "2", "--retry-delays", "100ms"]
        workers[kind] = rqtool.start("work", *options, "--drain", "--", "sh", "-c", SCRIPT)
    for attempt in (1, 2):
        for kind, worker in workers.items():
            begun = f"begin fails {attempt}"
            eventually(lambda kind=kind, begun=begun: begun in log_of(rqtool, kind))  # type: ignore[misc]
            if kind == "quorum" or version < "4.3":  # the broker's patience ends at least once in each attempt
                worker.says(CAME_AGAIN, times=1 + worker.stderr.count(CAME_AGAIN))
            (rqtool.cwd / f"go-{kind}-{attempt}").touch()
    for kind, worker in workers.items():
        ended = worker.wait()
        assert ended.code == 0, ended.stderr
        # One at a time. Whether the one beside it or its second attempt comes first is up to the broker.
        log = log_of(rqtool, kind)
        assert sorted(zip(log[::2], log[1::2], strict=True)) == [
            (f"begin {attempt}", f"end {attempt}") for attempt in ("fails 1", "fails 2", "short 1")
        ]
        eventually(lambda kind=kind: vhost.figures(kind) == (0, 0))  # type: ignore[misc]

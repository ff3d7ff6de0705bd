"""The broker's own patience with an ack that does not come: https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rqtool.private_broker.cluster import PrivateBroker
from tests.tools import Program, Vhost, eventually


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
    kinds = ["classic", "quorum"]
    script = 'b=$(cat); echo "begin $b $RQTOOL_TASK_ATTEMPT" >> "log-$RQTOOL_TASK_QUEUE"; [ "$b" = short ] || sleep 8; '
    script += 'echo "end $b $RQTOOL_TASK_ATTEMPT" >> "log-$RQTOOL_TASK_QUEUE"; '
    script += '[ "$b $RQTOOL_TASK_ATTEMPT" != "fails 1" ]'
    workers = {}
    for kind in kinds:
        assert rqtool("send", "-q", kind, "--type", kind, "fails", "short").code == 0
        options = ["-q", kind, "--type", kind, "--prefetch", "2", "--retry-delays", "100ms"]
        workers[kind] = rqtool.start("work", *options, "--drain", "--", "sh", "-c", script)
    for kind, worker in workers.items():
        ended = worker.wait(80)
        assert ended.code == 0, ended.stderr
        log = (rqtool.cwd / f"log-{kind}").read_text().splitlines()
        assert log == [
            "begin fails 1", "end fails 1", "begin short 1", "end short 1", "begin fails 2", "end fails 2",
        ]  # fmt: skip
        eventually(lambda kind=kind: vhost.figures(kind) == (0, 0))  # type: ignore[misc]
        version = vhost.api("GET", "/api/overview")["rabbitmq_version"]
        if kind == "quorum" or version < "4.3":
            assert "'fails' came again while it was in hand: it is not done twice" in ended.stderr

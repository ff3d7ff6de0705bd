"""What only a cluster can suffer: a majority lost, every node restarted in turn. Quorum queues; needs --nodes 3."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from rqtool.private_broker.node import end
from tests.faults.conftest import WINDOW, Arena, logged, settle_account
from tests.tools import eventually, lines

DONE = ["--", "sh", "-c", 'printf "%s\\n" "$1" >> done', "sh", "{}"]


@pytest.fixture
def cluster(arena: Arena) -> Arena:
    assert len(arena.vhost.nodes) == 3, "these tests need --nodes 3"
    arena.create("q", "quorum")
    return arena


@pytest.mark.timeout(300)
@pytest.mark.parametrize("heals", [True, False])
def test_the_majority_is_lost(cluster: Arena, heals: bool) -> None:
    """Two of three nodes are SIGKILLed while it sends: nothing is confirmed any more, until they are back or send gives
    up; and what is confirmed is there.
    """
    tasks = [b"%d" % n for n in range(4_000)]
    give_up = "150s" if heals else "5s"
    sender = cluster.rqtool.start(
        "send", "-q", "q", "--json", "--unsent", "rest", "--give-up", give_up, stdin=subprocess.PIPE
    )
    sender.write(lines(*tasks[:2_000]))
    eventually(lambda: cluster.vhost.ready("q") == 2_000)
    leader = cluster.leader("q")
    other = next(node for node in cluster.broker.running() if node.pid != leader.pid)
    cluster.kill(leader, other)
    sender.write(lines(*tasks[2_000:]))
    sender.close_input()
    if heals:
        sender.says("trying again")
        assert sender.process.poll() is None
        cluster.restart()
    ended = sender.wait(160)
    cluster.restart()

    rest = (cluster.rqtool.cwd / "rest").read_bytes().splitlines()
    assert ended.code == (0 if heals else 1), ended.stderr
    assert json.loads(ended.stdout)["confirmed"] == len(tasks) - len(rest)
    assert (rest == []) is heals
    # Sent before the majority was lost: confirmed. After: never, without it.
    assert set(rest) in (set(), set(tasks[2_000:]))
    eventually(lambda: cluster.vhost.ready("q") >= len(tasks) - len(rest))
    settle_account(set(tasks) - set(rest), queued=cluster.vhost.bodies("q"), sent=tasks, most_duplicates=WINDOW)


@pytest.mark.timeout(400)
def test_every_node_is_restarted_in_turn(cluster: Arena) -> None:
    """An upgrade, node by node, while one sends and two work: nobody is told, nothing is lost."""
    fed: list[bytes] = []
    sender = cluster.rqtool.start("send", "-q", "q", "--json", "--give-up", "120s", stdin=subprocess.PIPE)
    workers = [
        cluster.rqtool.start("work", "-q", "q", "-j", "2", "--prefetch", "10", "--quiet", *DONE) for _ in range(2)
    ]

    def feed(count: int) -> None:
        more = [b"%d" % n for n in range(len(fed), len(fed) + count)]
        sender.write(lines(*more))
        fed.extend(more)

    for node in cluster.vhost.nodes:
        feed(300)
        eventually(lambda: len(set(logged(cluster.rqtool))) > len(fed) - 200, 60)
        feed(300)
        end([node])
        cluster.vhost.node = cluster.broker.running()[0]
        feed(300)
        cluster.restart()
    feed(100)
    sender.close_input()
    ended = sender.wait(120)
    assert ended.code == 0, ended.stderr
    assert json.loads(ended.stdout)["confirmed"] == len(fed)
    eventually(lambda: set(logged(cluster.rqtool)) == set(fed), 90, "all done")
    for worker in workers:
        worker.signal(signal.SIGTERM)
        assert worker.wait().code == 0
    eventually(lambda: cluster.vhost.figures("q") == (0, 0))
    # What sender and workers had on their way when their node went, three times.
    settle_account(fed, completed=logged(cluster.rqtool), most_duplicates=3 * (600 + 2 * 10))


def test_a_classic_queue_whose_node_is_down(cluster: Arena) -> None:
    """It is out of reach, and send says why and waits for --give-up; when the node is back its tasks are there."""
    cluster.create("classic", "classic")
    limited: dict[str, str | int] = {"x-queue-type": "quorum", "x-delivery-limit": 5}
    limited |= {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "classic"}
    cluster.vhost.declare("limited", **limited)
    assert cluster.rqtool("send", "-q", "classic", "1").code == 0
    cluster.kill(cluster.leader("classic"))
    dead_letters_there = cluster.rqtool("send", "-q", "limited", "2")
    assert dead_letters_there.code == 0, dead_letters_there
    ended = cluster.rqtool("send", "-q", "classic", "2", "--give-up", "2s")
    assert (ended.code, "The node that holds the queue is down" in ended.stderr) == (69, True), ended.stderr
    waiting = cluster.rqtool.start("send", "-q", "classic", "3", "--give-up", "90s")
    cluster.restart()
    assert waiting.wait(120).code == 0
    settle_account([b"1", b"3"], queued=cluster.vhost.bodies("classic"))


def test_a_node_that_is_down_is_no_trouble(cluster: Arena) -> None:
    """One of three is gone: every command works, and goes to one of the others."""
    cluster.kill(cluster.vhost.nodes[0])
    for n in range(4):
        assert cluster.rqtool("send", "-q", "q", str(n)).code == 0
        assert cluster.rqtool("queues", "q").code == 0
    assert cluster.rqtool("work", "-q", "q", "--max-tasks", "4", "--quiet", *DONE).code == 0
    settle_account([b"0", b"1", b"2", b"3"], completed=logged(cluster.rqtool))

"""What a worker has in its hands is done or comes back, whatever happens to the broker and to the line."""

from __future__ import annotations

import os
import signal
from collections import Counter

import pytest

from tests.faults.conftest import Arena, logged, settle_account
from tests.tools import eventually, lines

KINDS = ["classic", "quorum"]
each_kind = pytest.mark.parametrize("kind", KINDS)
COMES_HOME = 240.0
"""Seconds: what a wait queue could not pass on while its home was not there yet, the broker offers again after three
minutes (dead_letter_worker_publisher_confirm_timeout)."""
SCRIPT = 'printf "%s\\n" "$1" >> done'
DONE = ["--", "sh", "-c", SCRIPT, "sh", "{}"]
FAILS_ONCE = ["--", "sh", "-c", f'[ "$RQTOOL_TASK_ATTEMPT" = 2 ] || exit 1; {SCRIPT}', "sh", "{}"]


@pytest.mark.timeout(400)
@each_kind
def test_the_broker_is_killed_under_workers(arena: Arena, kind: str) -> None:
    """The node that leads the queue is SIGKILLed twice while two workers work: all is done, and again only what was at
    work at that moment, or whose ack went under.
    """
    tasks = [b"%d" % n for n in range(3_000)]
    arena.create("q", kind)
    assert arena.rqtool("send", "-q", "q", input=lines(*tasks)).code == 0
    command = ["work", "-q", "q", "-j", "2", "--prefetch", "20", "--quiet"]
    workers = [arena.rqtool.start(*command, *DONE) for _ in range(2)]
    for share in (600, 1_400):
        eventually(lambda share=share: len(logged(arena.rqtool)) > share)  # type: ignore[misc]
        arena.kill(arena.leader("q"))
        arena.restart()
    eventually(lambda: set(logged(arena.rqtool)) == set(tasks), COMES_HOME)
    for worker in workers:
        worker.signal(signal.SIGTERM)
    assert [worker.wait().code for worker in workers] == [0, 0]
    eventually(lambda: arena.vhost.figures("q") == (0, 0))
    # Each worker holds 20, and each of two crashes can make that unknown.
    if kind == "quorum":
        settle_account(tasks, completed=logged(arena.rqtool), most_duplicates=80)
        return
    # A classic queue writes acks to disk some seconds later. So a crash brings back what was done, and what was moved
    # to q.returned, where its copy is too: both are done unless they reach the same worker.
    completed = Counter(logged(arena.rqtool))
    settle_account(tasks, completed=completed)
    assert max(completed.values()) <= 3


@pytest.mark.timeout(400)
@each_kind
def test_the_broker_is_killed_while_retries_come_home(arena: Arena, kind: str) -> None:
    """Every task fails once; the broker is SIGKILLed while they go home from the wait queue: none is lost there."""
    tasks = [b"%d" % n for n in range(1_500)]
    arena.create("q", kind)
    assert arena.rqtool("send", "-q", "q", input=lines(*tasks)).code == 0
    # The wait queue is as old as a real one, too.
    arena.rqtool("work", "-q", "q", "--max-tasks", "1", "--retry-delays", "2s", "--quiet", *FAILS_ONCE)
    command = ["work", "-q", "q", "-j", "4", "--prefetch", "50", "--retry-delays", "2s", "--no-brake", "--quiet"]
    worker = arena.rqtool.start(*command, *FAILS_ONCE)
    eventually(lambda: len(logged(arena.rqtool)) > 100)
    arena.kill(arena.leader("q.retry.2s"))
    arena.restart()
    eventually(lambda: set(logged(arena.rqtool)) == set(tasks), COMES_HOME, "all done")
    worker.signal(signal.SIGTERM)
    assert worker.wait().code == 0
    # What was on its way home, and what was being settled.
    settle_account(tasks, completed=logged(arena.rqtool), most_duplicates=200)


@pytest.mark.parametrize("how", ["reset", "black hole"])
def test_the_line_breaks_under_a_task(arena: Arena, how: str) -> None:
    """The task goes on, its result settles the redelivery, and it is not done twice."""
    arena.create("q", "classic")
    assert arena.rqtool("send", "-q", "q", "long", "short").code == 0
    script = (
        'echo "begin $1" >> done; [ "$1" = short ] || while [ ! -e go ]; do sleep 0.05; done; echo "end $1" >> done'
    )
    with arena.proxy() as proxy:
        worker = arena.rqtool.start("work", "-q", "q", "--", "sh", "-c", script, "sh", "{}")
        eventually(lambda: logged(arena.rqtool) == [b"begin long"])
        if how == "reset":
            proxy.cut()
        else:
            proxy.stall()
        worker.says("connection lost")
        proxy.mend()
        worker.says("connected again")
        (arena.rqtool.cwd / "go").touch()
        eventually(lambda: arena.vhost.figures("q") == (0, 0))
        worker.signal(signal.SIGTERM)
        assert worker.wait().code == 0
    assert logged(arena.rqtool) == [b"begin long", b"end long", b"begin short", b"end short"]


def test_a_poor_line(arena: Arena) -> None:
    """One byte at a time: slow, and nothing else."""
    tasks = [b"%d" % n for n in range(20)]
    arena.create("q", "classic")
    assert arena.rqtool("send", "-q", "q", input=lines(*tasks)).code == 0
    with arena.proxy() as proxy:
        proxy.slow(1, 0.0)
        ended = arena.rqtool("work", "-q", "q", "--max-tasks", "20", "--quiet", *DONE)
        assert proxy.connections == 1
    assert (ended.code, ended.stderr) == (0, "")
    settle_account(tasks, completed=logged(arena.rqtool))


@each_kind
def test_no_ack_for_another_channels_delivery(arena: Arena, kind: str) -> None:
    """The line breaks under A, which somebody else gets now; B comes on the new channel under A's old number. When A
    ends here, that must not acknowledge B: its worker is killed, and B comes back.
    """
    arena.create("q", kind)
    assert arena.rqtool("send", "-q", "q", "A").code == 0
    script = (
        'echo "begin $1" >> log; [ "$1" = B ] && sleep 300; while [ ! -e go ]; do sleep 0.05; done; echo end >> log'
    )
    with arena.proxy() as proxy:
        worker = arena.rqtool.start("work", "-q", "q", "-j", "2", "--", "sh", "-c", script, "sh", "{}")
        eventually(lambda: logged(arena.rqtool, "log") == [b"begin A"])
        proxy.cut(refuse=True)
        worker.says("connection lost")
        with arena.vhost.channel() as thief:
            # RabbitMQ notices a reset at once.
            eventually(lambda: arena.vhost.ready("q") == 1)
            [[method, _, _]] = [thief.basic_get("q")]
            assert method is not None
            assert arena.rqtool("send", "-q", "q", "B", "--url", arena.vhost.url).code == 0
            proxy.mend()
            eventually(lambda: b"begin B" in logged(arena.rqtool, "log"))
            (arena.rqtool.cwd / "go").touch()
            eventually(lambda: b"end" in logged(arena.rqtool, "log"))
            worker.kill()
            thief.basic_ack(method.delivery_tag)
        eventually(lambda: arena.vhost.ready("q") == 1)
        assert arena.vhost.bodies("q") == [b"B"]


def test_a_frozen_worker(arena: Arena) -> None:
    """SIGSTOP: the broker takes its tasks away after two heartbeats; awake again, it does not acknowledge them."""
    arena.create("q", "classic")
    assert arena.rqtool("send", "-q", "q", "1", "2", "3").code == 0
    env = {"RQTOOL_URL": f"{arena.vhost.url}?heartbeat=5"}
    script = 'echo "$RQTOOL_WORKER $1" >> log; [ "$RQTOOL_WORKER" = b ] || sleep 1; ' + SCRIPT
    frozen = arena.rqtool.start(
        "work", "-q", "q", "--", "sh", "-c", script, "sh", "{}", env=env | {"RQTOOL_WORKER": "a"}
    )
    eventually(lambda: len(logged(arena.rqtool, "log")) == 1)
    os.kill(frozen.process.pid, signal.SIGSTOP)
    try:
        other = arena.rqtool.start(
            "work", "-q", "q", *["--", "sh", "-c", script, "sh", "{}"], env={"RQTOOL_WORKER": "b"}
        )
        eventually(lambda: {b"b 1", b"b 2", b"b 3"} <= set(logged(arena.rqtool, "log")))
    finally:
        os.kill(frozen.process.pid, signal.SIGCONT)
    frozen.says("connection lost")
    frozen.says("connected again")
    for worker in (frozen, other):
        worker.signal(signal.SIGTERM)
        assert worker.wait().code == 0
    eventually(lambda: arena.vhost.figures("q") == (0, 0))
    counts = Counter(logged(arena.rqtool))
    assert set(counts) == {b"1", b"2", b"3"}
    assert counts == {b"1": 2, b"2": 1, b"3": 1}

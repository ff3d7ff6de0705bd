"""Tasks that come back: none is given up that could be done, whatever its worker ended of, and how often."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest

from rqtool.amqp.headers import STARTS
from rqtool.topology import QueueType, sibling_arguments, waiting
from tests.old_queues import declare_all, declare_siblings
from tests.tools import Program, Vhost, eventually, lines, throughout

KINDS: list[QueueType] = ["classic", "quorum"]


@pytest.mark.parametrize("kind", KINDS)
def test_all_workers_killed_three_times(rqtool: Program, vhost: Vhost, kind: QueueType) -> None:
    """Four workers of 25 jobs with all hands full: everything is done, nothing is dead."""
    declare_all(vhost, "task_queue", kind)
    tasks = [f"{n}" for n in range(1_000)]
    assert rqtool("send", "--type", kind, input=lines(*(task.encode() for task in tasks))).code == 0
    command = ["work", "-j", "25", "--quiet", "--", "sh", "-c", 'read id; sleep 0.2; echo "$id" >> log']
    for round_ in range(3):
        workers = [rqtool.start(*command) for _ in range(4)]
        seen = len(rqtool.log())
        eventually(lambda seen=seen: len(rqtool.log()) > seen + 100)  # type: ignore[misc]
        for worker in workers:
            worker.kill()
        assert len(set(rqtool.log())) < len(tasks), round_
    ends = [worker.wait(120) for worker in [rqtool.start(*command[:4], "--drain", *command[4:]) for _ in range(4)]]
    assert [ended.code for ended in ends] == [0] * 4, ends
    assert set(tasks) == set(rqtool.log())
    assert vhost.bodies("task_queue.dead") == []


@pytest.mark.parametrize("kind", KINDS)
def test_cut_off_six_times(rqtool: Program, vhost: Vhost, kind: QueueType) -> None:
    """It was not the task that ended its worker: its attempt stays the first, and from the second start on it is told
    that somebody may have begun it before.
    """
    declare_all(vhost, "task_queue", kind)
    vhost.publish("x")
    script = 'echo "$RQTOOL_TASK_ATTEMPT $RQTOOL_TASK_REDELIVERED" >> log; sleep 300'
    for start in range(1, 7):
        worker = rqtool.start("work", "--grace", "100ms", "--", "sh", "-c", script)
        eventually(lambda start=start: len(rqtool.log()) == start)  # type: ignore[misc]
        worker.signal(signal.SIGTERM)
        assert worker.wait().code == 128 + signal.SIGTERM
    assert rqtool.log() == ["1 0", *["1 1"] * 5]
    assert rqtool("work", "--drain", "--", "true").code == 0
    assert vhost.bodies("task_queue.dead") == []


def test_what_waits_is_given_back_without_blame(rqtool: Program, vhost: Vhost) -> None:
    """A worker that ends in order returns what it had ahead of the queue, again and again: none of it is suspected."""
    declare_siblings(vhost, "task_queue")
    vhost.publish(*(f"{n}" for n in range(20)))
    hold = rqtool.start("work", "--prefetch", "50", "--", "sleep", "300")
    eventually(lambda: vhost.figures() == (0, 20))
    hold.kill()
    for _ in range(4):
        worker = rqtool.start("work", "--prefetch", "50", "--grace", "100ms", "--", "sleep", "300")
        eventually(lambda: sum(vhost.figures("task_queue.returned")) == 20)
        worker.says("Received")
        worker.signal(signal.SIGTERM)
        assert worker.wait().code == 128 + signal.SIGTERM
        eventually(lambda: vhost.ready("task_queue.returned") == 20)
    assert vhost.ready("task_queue.quarantine") == 0
    assert rqtool("work", "--drain", "--quiet", "--", "true").code == 0
    assert vhost.bodies("task_queue.dead") == []


@pytest.fixture
def hasty(rqtool: Program) -> Program:
    """The program, with little time for what is in quarantine."""
    return rqtool.tuned("from rqtool.work import quarantine; quarantine.SPELL = 0.2; quarantine.PATIENCE = 0.0")


@pytest.mark.usefixtures("old_places")
def test_a_suspect_is_alone(rqtool: Program, hasty: Program, vhost: Vhost) -> None:
    """If its worker goes, no other task can have been the reason, and none comes back that was in hand beside it."""
    rqtool("send", input=lines(*(b"%d" % n for n in range(400))))
    with vhost.channel() as channel:
        for _ in range(2):
            channel.basic_publish("", "task_queue.quarantine", b"suspect")
    script = 'read t; echo "begin $t" >> log; sleep 0.3; [ "$t" != suspect ] || sleep 300; echo "end $t" >> log'
    hasty.start("work", "-j", "3", "--prefetch", "10", "--", "sh", "-c", script)
    eventually(lambda: "begin suspect" in rqtool.log())
    eventually(lambda: vhost.figures("task_queue.quarantine") == (1, 1))
    throughout(lambda: rqtool.log()[-1] == "begin suspect", 1.0)
    before = rqtool.log()[:-1]
    assert sum(line.startswith("begin") for line in before) == sum(line.startswith("end") for line in before) < 400
    eventually(lambda: vhost.figures() == (400 - len(before) // 2, 0))


@pytest.mark.usefixtures("old_places")
def test_a_suspect_does_not_starve(rqtool: Program, hasty: Program, vhost: Vhost) -> None:
    """Beside jobs that never end together, a worker waits for longer and longer until it does nothing else."""
    rqtool("send", input=lines(*(b"1.%d" % (n % 3) for n in range(60))))
    with vhost.channel() as channel:
        channel.basic_publish("", "task_queue.quarantine", b"0")
    command = 'read s; echo "$s" >> log; sleep "$s"'
    hasty.start("work", "-j", "3", "--", "sh", "-c", command).says("Done '0'")
    assert vhost.ready() > 0


def test_what_came_back_is_seen_with_its_queue(rqtool: Program, vhost: Vhost) -> None:
    """A worker that has a dead one's task in hand is named by `queues NAME`."""
    declare_siblings(vhost, "task_queue")
    vhost.publish("x")
    holder = rqtool.start("work", "--", "sleep", "300")
    eventually(lambda: vhost.figures() == (0, 1))
    holder.kill()
    worker = rqtool.start("work", "--", "sleep", "300")
    worker.says("Received")
    eventually(lambda: "task_queue.returned\t0\t1\t1\t" in rqtool("queues", "task_queue").stdout)


def test_tasks_of_an_older_version_come_home(rqtool: Program, vhost: Vhost) -> None:
    """Version 0.4 counted starts in a header, in a wait queue that sends home by itself: they are done like all."""
    import pika

    vhost.declare("task_queue.retry.started", **sibling_arguments(waiting("task_queue", "started", 2.0), None))
    with vhost.channel() as channel:
        for name in "abc":
            properties = pika.BasicProperties(delivery_mode=2, message_id=name, headers={STARTS: 3})  # type: ignore[no-untyped-call]
            channel.basic_publish("", "task_queue.retry.started", name.encode(), properties)
    worker = rqtool.start("work", "--", "sh", "-c", "cat >> log; echo >> log")
    eventually(lambda: Counter(rqtool.log()) == Counter("abc"))
    worker.signal(signal.SIGTERM)
    worker.wait()
    assert vhost.bodies("task_queue.dead") == []


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_a_queue_that_is_made_anew_under_a_worker(rqtool: Program, vhost: Vhost, kind: str) -> None:
    """The broker may have forgotten the consumer (a quorum queue on RabbitMQ 3.10): the worker goes on all the same."""
    vhost.declare("task_queue", **{"x-queue-type": kind})
    worker = rqtool.start(
        "work", "-j", "2", "--", "sh", "-c", 'read id; echo "$id" >> log; [ "$id" != slow ] || sleep 3'
    )
    vhost.publish("slow")
    eventually(lambda: rqtool.log() == ["slow"])
    with vhost.channel() as channel:
        channel.queue_delete("task_queue")
        channel.queue_declare("task_queue", durable=True, arguments={"x-queue-type": kind})
    vhost.publish("more")
    eventually(lambda: "more" in rqtool.log(), what=repr(worker))


def test_a_user_who_may_not_make_queues(rqtool: Program, vhost: Vhost, tmp_path: Path) -> None:
    """The worker goes on without them, and says what is missing; flagged tasks are done as they come."""
    vhost.api("PUT", "/api/users/modest", {"password": "modest", "tags": ""})
    vhost.api("PUT", f"/api/permissions/{vhost.path}/modest", {"configure": "^$", "write": ".*", "read": ".*"})
    modest = Vhost(vhost.node, vhost.name, "modest", "modest")
    vhost.publish("a", "b", "c")
    program = Program(modest.environment, tmp_path)
    held = program.start("work", "--prefetch", "10", "--", "sleep", "300")
    held.says("this user may not create 'task_queue.dead', 'task_queue.returned', 'task_queue.quarantine'")
    held.says("a task that fails ends the worker, and a task that kills its workers can't be told from others")
    eventually(lambda: vhost.figures() == (0, 3))
    held.kill()
    worker = program.start("work", "--", "true")
    worker.says("[x] Done", times=3)
    program.end_all()
    vhost.api("DELETE", "/api/users/modest")

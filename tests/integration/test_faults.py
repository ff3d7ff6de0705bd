"""Promise 1 under fire: what was called sent is there afterwards, whatever was killed. Ledgers of ids, not counts."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path

import pika
import pytest

from rqtool.amqp.connect import connect
from rqtool.amqp.consumer import Getter
from rqtool.amqp.errors import Lost
from rqtool.amqp.headers import COPY, STARTS
from rqtool.endpoint.urls import Endpoint, parse_broker_urls
from rqtool.private_broker.cluster import PrivateBroker
from rqtool.topology import sibling_arguments, waiting
from tests.integration.conftest import Secured
from tests.old_queues import declare_all
from tests.tools import Program, Running, Vhost, eventually, lines, sigkill

pytestmark = pytest.mark.xdist_group("mortal broker")


@pytest.fixture
def own(own_broker: Secured, tmp_path: Path) -> Iterator[tuple[PrivateBroker, Vhost, Program]]:
    """The broker to kill, up and running, its vhost, and the program pointed at it."""
    vhost = Vhost(own_broker.node, "/")
    program = Program(vhost.environment, cwd=tmp_path)
    yield own_broker.broker, vhost, program
    program.end_all()


def crash(broker: PrivateBroker) -> None:
    """SIGKILL the broker's process."""
    [node] = broker.running()
    sigkill(node.pid)
    eventually(lambda: not broker.running())


def test_the_broker_is_killed_while_send_streams(own: tuple[PrivateBroker, Vhost, Program]) -> None:
    """SIGKILL and restart on the same data, twice: send goes on; every line is in the queue, of both kinds."""
    broker, vhost, rqtool = own
    tasks = [f"{n}".encode() for n in range(60_000)]
    senders = {
        kind: rqtool.start("send", "--json", "-q", kind, "--type", kind, "--give-up", "60s", stdin=subprocess.PIPE)
        for kind in ("classic", "quorum")
    }
    for share in (20_000, 40_000):
        for sender in senders.values():
            sender.write(lines(*tasks[share - 20_000 : share]))
        enough = share - 15_000
        eventually(lambda enough=enough: all(vhost.exists(k) and vhost.ready(k) > enough for k in senders))  # type: ignore[misc]
        crash(broker)
        [vhost.node] = broker.start()
    for kind, sender in senders.items():
        sender.write(lines(*tasks[40_000:]))
        sender.close_input()
        ended = sender.wait()
        assert ended.code == 0, ended.stderr
        assert ended.stderr.count("trying again") == 2, ended.stderr
        kept = Counter(vhost.bodies(kind))
        assert set() == set(tasks) - set(kept)
        assert set() == set(kept) - set(tasks)
        # Unknown at the moment of a crash is at most one window; what was unknown is sent again.
        assert sum(kept.values()) - len(tasks) <= 2 * 10_000


Story = Generator[None, None, None]
"""Programs and a crash of their broker. So that one crash serves many, a story yields when its programs are started,
when they are where the crash is to find them, when it has seen them without a broker, and ends when the broker is back.
"""


def delayed_tasks(vhost: Vhost, rqtool: Program) -> Story:
    """What waits for its time, in any of its queues, or is on its way home: each task comes."""
    batches = {seconds: [f"{seconds} {n}".encode() for n in range(2_000)] for seconds in (1, 4, 20)}
    send = partial(rqtool.start, "send", "-q", "delayed", stdin=subprocess.PIPE)
    senders = [send("--delay", f"{seconds}s") for seconds in batches]
    for sender, tasks in zip(senders, batches.values(), strict=True):
        sender.write(lines(*tasks))
        sender.close_input()
    yield
    eventually(lambda: vhost.exists("delayed") and vhost.ready("delayed") > 2_000)
    assert [sender.wait().code for sender in senders] == [0] * len(batches)
    yield
    yield
    expected = Counter(task for tasks in batches.values() for task in tasks)
    eventually(lambda: vhost.ready("delayed") >= expected.total())
    found = vhost.take_all("delayed")
    assert set(expected) == {body for _, body in found}
    # A task on its way home at the moment of the crash may come twice, as many as the broker has under way at once.
    assert len(found) - expected.total() <= 100


def impatient_sender(vhost: Vhost, rqtool: Program) -> Story:
    """Send gives up in time, and what it calls confirmed is what the broker has; the rest is in --unsent, in order.
    Another one waits longer, even for its first connection.
    """
    tasks = [f"{n}".encode() for n in range(1000)]
    running = rqtool.start("send", "-q", "away", "--give-up", "2s", "--unsent", "rest", stdin=subprocess.PIPE)
    running.write(lines(*tasks[:600]))
    yield
    eventually(lambda: vhost.exists("away") and vhost.ready("away") == 600)
    yield
    patient = rqtool.start("send", "-q", "late", "x", "--give-up", "60s")
    running.says("connection lost")
    running.write(lines(*tasks[600:]))
    running.close_input()
    ended = running.wait()
    yield
    assert ended.code == 1
    assert "600 tasks confirmed" in ended.stderr
    assert "The rest is in rest: send it with --from rest." in ended.stderr
    assert tasks[:600] == vhost.bodies("away")
    assert tasks[600:] == (rqtool.cwd / "rest").read_bytes().splitlines()
    assert rqtool("send", "-q", "away", "--from", "rest").code == 0
    assert tasks[600:] == vhost.bodies("away")
    assert patient.wait().code == 0
    assert vhost.bodies("late") == [b"x"]


def worker_at_work(vhost: Vhost, rqtool: Program) -> Story:
    """The task that ran while the broker was away is done once, and its result settles the redelivery."""
    sender = rqtool.start("send", "-q", "outlive", "long", "short")
    yield
    assert sender.wait().code == 0
    script = 'b=$(cat); echo "begin $b" >> log; while [ ! -e go ]; do sleep 0.05; done; echo "end $b" >> log'
    worker = rqtool.start("work", "-q", "outlive", "--", "sh", "-c", script)
    log = rqtool.cwd / "log"
    eventually(lambda: log.exists() and log.read_text() == "begin long\n")
    yield
    worker.says("connection lost")
    (rqtool.cwd / "go").touch()
    eventually(lambda: "end long" in log.read_text())
    yield
    worker.says("connected again")
    eventually(lambda: vhost.figures("outlive") == (0, 0))

    worker.signal(signal.SIGTERM)
    assert worker.wait().code == 0
    assert log.read_text().splitlines() == ["begin long", "end long", "begin short", "end short"]


def wait_queue_without_leader(vhost: Vhost, rqtool: Program) -> Story:
    """RabbitMQ up to 4.0 is killed a moment after it made a wait queue: nothing can be stored there any more, and the
    task is tried again all the same.
    """
    sender = rqtool.start("send", "-q", "orphan", "task")
    yield
    assert sender.wait().code == 0
    wait_queue = waiting("orphan", "1s", 1.0)
    with vhost.channel() as channel:
        channel.queue_declare(wait_queue.name, durable=True, arguments=sibling_arguments(wait_queue, None))
    yield
    yield
    once = 'b=$(cat); echo "$b" >> tries; [ $(wc -l < tries) -gt 1 ]'
    worker = rqtool.start("work", "-q", "orphan", "--drain", "--retry-delays", "1s", "--", "sh", "-c", once)
    assert worker.wait(90).code == 0
    assert (rqtool.cwd / "tries").read_text().splitlines() == ["task", "task"]
    assert vhost.figures("orphan") == (0, 0)


def suspect_on_a_host_that_goes_down(vhost: Vhost, rqtool: Program) -> Story:
    """The worker goes with its broker; the next one learns when the broker started, and does not blame the task."""
    declare_all(vhost, "host", "classic")
    made = f"c0ffee-{int(time.time() * 1000):x}"
    suspect = pika.BasicProperties(delivery_mode=2, headers={STARTS: 2, COPY: made})  # type: ignore[no-untyped-call]
    with vhost.channel() as channel:
        channel.basic_publish("", "host.quarantine", b"suspect", suspect)
    worker = rqtool.start("work", "-q", "host", "--", "sh", "-c", "touch begun; sleep 300")
    yield
    eventually((rqtool.cwd / "begun").exists)
    yield
    worker.kill()
    yield
    ended = rqtool("work", "-q", "host", "--drain")
    assert " [x] Done 'suspect'" in ended.stdout
    assert vhost.ready("host.dead") == 0


@pytest.mark.timeout(400)
def test_one_crash(own: tuple[PrivateBroker, Vhost, Program]) -> None:
    """SIGKILL and restart under all of them at once. The first one needs the broker as soon as it is up, the last one
    made its queue a moment before the crash.
    """
    broker, vhost, rqtool = own
    told = (
        suspect_on_a_host_that_goes_down,
        impatient_sender,
        worker_at_work,
        delayed_tasks,
        wait_queue_without_leader,
    )
    stories = [story(vhost, rqtool) for story in told]
    for story in stories:
        next(story)
    for story in stories:
        next(story)
    crash(broker)
    for story in stories:
        next(story)
    [vhost.node] = broker.start()
    for story in stories:
        assert next(story, "over") == "over"


def test_a_queue_deleted_under_the_worker(rqtool: Program, vhost: Vhost) -> None:
    """The broker cancels the consumer: the worker declares the queue again and goes on, without a silent hang."""
    vhost.publish("1")
    worker = rqtool.start("work")
    worker.says(" [x] Done")
    with vhost.channel() as channel:
        channel.queue_delete("task_queue")
    worker.says("connected again")
    vhost.publish("2")
    worker.says("Received '2'")
    worker.signal(signal.SIGTERM)
    assert worker.wait().code == 0


def test_connections_closed_by_an_operator(rqtool: Program, vhost: Vhost) -> None:
    """Every connection is closed through the management API: sender and worker come back and finish."""
    tasks = [f"{n}".encode() for n in range(100)]
    sender = rqtool.start("send", stdin=subprocess.PIPE)
    worker = rqtool.start("work", "--quiet", "-j", "2", "--", "sh", "-c", 'printf "%s\\n" "$(cat)" >> done')
    sender.write(lines(*tasks[:50]))
    done = rqtool.cwd / "done"
    eventually(lambda: done.exists() and len(done.read_bytes().split()) >= 50)

    def close_all() -> bool:
        rows = vhost.api("GET", f"/api/vhosts/{vhost.path}/connections")
        for row in rows:
            vhost.api("DELETE", f"/api/connections/{row['name'].replace(' ', '%20').replace('>', '%3E')}")
        return len(rows) >= 2

    eventually(close_all)
    sender.says("connected again")
    sender.write(lines(*tasks[50:]))
    sender.close_input()
    assert sender.wait().code == 0

    def all_done() -> bool:
        return set(tasks) == set(done.read_bytes().split()) and vhost.figures() == (0, 0)

    eventually(all_done)
    stop(worker)


def test_an_answer_that_comes_too_late(vhost: Vhost, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that was asked for, and comes when nobody waits for it any more, goes back: nobody would ack it."""
    for queue in ("side", "empty"):
        vhost.declare(queue)
    with vhost.channel() as channel:
        channel.basic_publish("", "side", b"late")
    eventually(lambda: vhost.figures("side") == (1, 0))

    async def ask() -> None:
        connection = await connect(Endpoint(parse_broker_urls(vhost.url), ()), "test")
        channel = await connection.channel()
        getter = Getter(channel)
        assert await getter.get("empty") is None
        monkeypatch.setattr("rqtool.amqp.connection.CALL_SECONDS", 0.0)
        with pytest.raises(Lost):
            await getter.get("side")
        await channel.lost
        await asyncio.to_thread(eventually, lambda: vhost.figures("side") == (1, 0))
        await connection.close()

    asyncio.run(ask())


def stop(worker: Running) -> None:
    worker.signal(signal.SIGTERM)
    assert worker.wait().code == 0

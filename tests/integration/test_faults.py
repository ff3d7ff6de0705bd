"""Promise 1 under fire: what was called sent is there afterwards, whatever was killed. Ledgers of ids, not counts."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from rqtool.amqp.connect import connect
from rqtool.amqp.consumer import Getter
from rqtool.amqp.errors import Lost
from rqtool.amqp.topology import sibling_arguments, waiting
from rqtool.endpoint.urls import Endpoint, parse_broker_urls
from rqtool.private_broker.cluster import PrivateBroker
from tests.tools import Program, Running, Vhost, eventually, lines, sigkill

pytestmark = pytest.mark.xdist_group("mortal broker")


@pytest.fixture(scope="module")
def mortal_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateBroker]:
    """A broker to kill."""
    local = PrivateBroker(tmp_path_factory.mktemp("mortal"))
    try:
        yield local
    finally:
        local.stop()


@pytest.fixture
def own(mortal_broker: PrivateBroker, tmp_path: Path) -> Iterator[tuple[PrivateBroker, Vhost, Program]]:
    """The broker to kill, up and running, its vhost, and the program pointed at it."""
    vhost = Vhost(mortal_broker.start()[0], "/")
    program = Program(vhost.environment, cwd=tmp_path)
    yield mortal_broker, vhost, program
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
        eventually(lambda enough=enough: all(vhost.exists(k) and vhost.ready(k) > enough for k in senders), 40)  # type: ignore[misc]
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


def test_the_broker_is_killed_while_tasks_are_delayed(own: tuple[PrivateBroker, Vhost, Program]) -> None:
    """What waits for its time, in any of its queues, or is on its way home: each task comes."""
    broker, vhost, rqtool = own
    batches = {seconds: [f"{seconds} {n}".encode() for n in range(2_000)] for seconds in (1, 4, 20)}
    send = partial(rqtool.start, "send", "-q", "delayed", stdin=subprocess.PIPE)
    senders = [send("--delay", f"{seconds}s") for seconds in batches]
    for sender, tasks in zip(senders, batches.values(), strict=True):
        sender.write(lines(*tasks))
        sender.close_input()
    eventually(lambda: vhost.exists("delayed") and vhost.ready("delayed") > 2_000, 30)
    assert [sender.wait().code for sender in senders] == [0] * len(batches)
    crash(broker)
    [vhost.node] = broker.start()
    expected = Counter(task for tasks in batches.values() for task in tasks)
    eventually(lambda: vhost.ready("delayed") >= expected.total(), 40)
    found = vhost.take_all("delayed")
    assert set(expected) == {body for _, body in found}
    # A task on its way home at the moment of the crash may come twice, as many as the broker has under way at once.
    assert len(found) - expected.total() <= 100


def test_a_broker_that_stays_away(own: tuple[PrivateBroker, Vhost, Program]) -> None:
    """Send gives up in time, and what it calls confirmed is what the broker has; the rest is in --unsent, in order.
    Another one waits longer, even for its first connection.
    """
    broker, vhost, rqtool = own
    rqtool.environment["RQTOOL_QUEUE"] = "away"
    tasks = [f"{n}".encode() for n in range(1000)]
    running = rqtool.start("send", "--give-up", "2s", "--unsent", "rest", stdin=subprocess.PIPE)
    running.write(lines(*tasks[:600]))
    eventually(lambda: vhost.exists("away") and vhost.ready("away") == 600)
    crash(broker)
    patient = rqtool.start("send", "-q", "late", "x", "--give-up", "60s")
    running.says("connection lost")
    running.write(lines(*tasks[600:]))
    running.close_input()
    ended = running.wait()
    [vhost.node] = broker.start()

    assert ended.code == 1
    assert "600 tasks confirmed" in ended.stderr
    assert "The rest is in rest: send it with --from rest." in ended.stderr
    assert tasks[:600] == vhost.bodies("away")
    assert tasks[600:] == (rqtool.cwd / "rest").read_bytes().splitlines()
    assert rqtool("send", "--from", "rest").code == 0
    assert tasks[600:] == vhost.bodies("away")
    assert patient.wait().code == 0
    assert vhost.bodies("late") == [b"x"]


def test_a_worker_outlives_its_broker(own: tuple[PrivateBroker, Vhost, Program]) -> None:
    """The task that ran while the broker was away is done once, and its result settles the redelivery."""
    broker, vhost, rqtool = own
    rqtool.environment["RQTOOL_QUEUE"] = "outlive"
    assert rqtool("send", "long", "short").code == 0
    script = 'b=$(cat); echo "begin $b" >> log; while [ ! -e go ]; do sleep 0.05; done; echo "end $b" >> log'
    worker = rqtool.start("work", "--", "sh", "-c", script)
    log = rqtool.cwd / "log"
    eventually(lambda: log.exists() and log.read_text() == "begin long\n")
    crash(broker)
    worker.says("connection lost")
    (rqtool.cwd / "go").touch()
    eventually(lambda: "end long" in log.read_text())
    [vhost.node] = broker.start()
    worker.says("connected again")
    eventually(lambda: vhost.figures("outlive") == (0, 0))

    worker.signal(signal.SIGTERM)
    assert worker.wait().code == 0
    assert log.read_text().splitlines() == ["begin long", "end long", "begin short", "end short"]


def test_a_wait_queue_that_lost_its_leader(own: tuple[PrivateBroker, Vhost, Program]) -> None:
    """RabbitMQ up to 4.0 is killed a moment after it made a wait queue: nothing can be stored there any more, and the
    task is tried again all the same.
    """
    broker, vhost, rqtool = own
    rqtool.environment["RQTOOL_QUEUE"] = "orphan"
    assert rqtool("send", "task").code == 0
    wait_queue = waiting("orphan", "1s", 1.0)
    with vhost.channel() as channel:
        channel.queue_declare(wait_queue.name, durable=True, arguments=sibling_arguments(wait_queue, None))
    crash(broker)
    [vhost.node] = broker.start()
    once = 'b=$(cat); echo "$b" >> log; [ $(wc -l < log) -gt 1 ]'
    worker = rqtool.start("work", "--drain", "--retry-delays", "1s", "--", "sh", "-c", once)
    assert worker.wait(90).code == 0
    assert (rqtool.cwd / "log").read_text().splitlines() == ["task", "task"]
    assert vhost.figures("orphan") == (0, 0)


def test_a_queue_deleted_under_the_worker(rqtool: Program, vhost: Vhost) -> None:
    """The broker cancels the consumer: the worker declares the queue again and goes on, without a silent hang."""
    assert rqtool("send", "1").code == 0
    worker = rqtool.start("work")
    worker.says(" [x] Done")
    with vhost.channel() as channel:
        channel.queue_delete("task_queue")
    worker.says("connected again")
    assert rqtool("send", "2").code == 0
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
        getter = Getter(connection)
        assert await getter.get("empty") is None
        monkeypatch.setattr("rqtool.amqp.connection.CALL_SECONDS", 0.0)
        with pytest.raises(Lost):
            await getter.get("side")
        await getter.lost
        await asyncio.to_thread(eventually, lambda: vhost.figures("side") == (1, 0))
        await connection.close()

    asyncio.run(ask())


def stop(worker: Running) -> None:
    worker.signal(signal.SIGTERM)
    assert worker.wait().code == 0

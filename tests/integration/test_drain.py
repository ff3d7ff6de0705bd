"""`rqtool work --drain` ends when nothing is left: nothing ready, held by others, or waiting for another attempt."""

from __future__ import annotations

import signal

import pytest

from rqtool.topology import QueueType
from tests.old_queues import declare_all
from tests.proxy import Proxy
from tests.tools import Program, Vhost, eventually

LOG = ["sh", "-c", 'b=$(cat); echo "$b" >> log']
HOLD = ["sh", "-c", 'b=$(cat); echo "begin $b" >> log; while [ ! -e go ]; do sleep 0.05; done; echo "end $b" >> log']
FAIL = ["sh", "-c", 'echo "$(cat) $RQTOOL_TASK_ATTEMPT" >> log; exit 1']
FULL: dict[str, str | int] = {"x-max-length": 1, "x-overflow": "reject-publish"}


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_drain_waits_for_the_tasks_of_others(rqtool: Program, vhost: Vhost, kind: QueueType) -> None:
    """An empty queue is not drained while another worker holds a task: if that one fails, the task comes here."""
    declare_all(vhost, "task_queue", kind)
    vhost.publish("theirs")
    holder = rqtool.start("work", "--", *HOLD)
    eventually(lambda: rqtool.log() == ["begin theirs"])
    drainer = rqtool.start("work", "--drain", "--", *LOG)
    drainer.says("waiting for 1 task that other workers hold")
    assert drainer.process.poll() is None
    holder.kill()

    assert drainer.wait().code == 0
    assert rqtool.log()[:2] == ["begin theirs", "theirs"]
    (rqtool.cwd / "go").touch()


@pytest.mark.usefixtures("old_places")
def test_drain_waits_for_a_suspect_of_others(rqtool: Program, vhost: Vhost) -> None:
    """A worker that runs a task of the quarantine consumes nothing, and the management API learns of it late."""
    vhost.publish(b"own")
    drainer = rqtool.start("work", "--drain", "--", "sh", "-c", "touch begun; while [ ! -e over ]; do sleep 0.05; done")
    eventually((rqtool.cwd / "begun").exists)
    holder = rqtool.start("work", "--", *HOLD)
    eventually(lambda: vhost.consumers() == 2)
    vhost.publish(b"suspect", queue="task_queue.quarantine")
    eventually(lambda: rqtool.log() == ["begin suspect"])
    (rqtool.cwd / "over").touch()
    drainer.says("waiting for 1 task that other workers hold")
    (rqtool.cwd / "go").touch()

    assert drainer.wait().code == 0
    assert rqtool.log() == ["begin suspect", "end suspect"]
    assert holder.process.poll() is None


def test_drain_with_a_management_api_that_goes(rqtool: Program, vhost: Vhost) -> None:
    """It goes to the next node's; where there is none, what it saw others hold is not taken for done."""
    vhost.publish(b"theirs")
    holder = rqtool.start("work", "--", *HOLD)
    eventually(lambda: rqtool.log() == ["begin theirs"])
    apis = [Proxy(vhost.node.api_port) for _ in range(2)]
    try:
        urls = ",".join(f"http://127.0.0.1:{api.port}" for api in apis)
        drainer = rqtool.start("work", "--drain", "--", *LOG, env={"RQTOOL_API_URL": urls})
        drainer.says("waiting for 1 task that other workers hold")
        apis[0].cut(refuse=True)
        served = apis[1].connections
        eventually(lambda: apis[1].connections > served)
        apis[1].cut(refuse=True)
        drainer.says("waiting until it can be seen again")
        assert drainer.process.poll() is None
        for api in apis:
            api.mend()
        (rqtool.cwd / "go").touch()
        assert drainer.wait().code == 0
    finally:
        for api in apis:
            api.close()
    assert holder.process.poll() is None


def test_ctrl_c_while_the_management_api_says_nothing(rqtool: Program, vhost: Vhost) -> None:
    """A worker that must stop does not wait for it."""
    api = Proxy(vhost.node.api_port)
    api.stall()
    try:
        drainer = rqtool.start("work", "--drain", env={"RQTOOL_API_URL": f"http://127.0.0.1:{api.port}"})
        eventually(lambda: api.connections > 0)
        drainer.signal(signal.SIGINT)
        ended = drainer.wait(15)
        assert ended.code == 0
        assert "; stopped before the queue was drained\n" in ended.stderr
    finally:
        api.close()


def test_drain_without_the_management_api(rqtool: Program, vhost: Vhost) -> None:
    """What can't be seen is said; then what is ready decides."""
    vhost.publish(b"1", b"2")
    ended = rqtool("work", "--drain", "--", *LOG, env={"RQTOOL_API_URL": "http://127.0.0.1:1"})

    assert ended.code == 0
    assert rqtool.log() == ["1", "2"]
    assert ended.stderr.count("Tasks that other workers hold can't be seen") == 1


@pytest.mark.usefixtures("old_places")
def test_drain_waits_for_the_retries_of_others(rqtool: Program, vhost: Vhost) -> None:
    """Tasks that wait in queues of any delay are not done; they come here."""
    vhost.publish("1")
    other = rqtool.start("work", "--retry-delays", "6s", "--", *FAIL)
    other.says("attempt 2 follows in 6s")
    other.signal(signal.SIGTERM)
    assert other.wait().code == 0
    drainer = rqtool("work", "--drain", "--retry-delays", "none", "--", *FAIL)
    assert drainer.code == 1
    assert "waiting for 1 task to be tried again" in drainer.stderr
    assert rqtool.log() == ["1 1", "1 2"]


@pytest.mark.usefixtures("old_places")
def test_drain_waits_for_what_can_not_go_home(rqtool: Program, vhost: Vhost) -> None:
    """A task whose time is over and for which home has no room is neither ready nor held, and not forgotten."""
    vhost.declare("task_queue", **FULL)
    vhost.publish("1")
    fail = 'echo "$(cat) $RQTOOL_TASK_ATTEMPT" >> log; while [ ! -e go ]; do sleep 0.05; done; exit 1'
    worker = rqtool.start("work", "--max-tasks", "1", "--retry-delays", "1s", "--", "sh", "-c", fail)
    eventually(lambda: rqtool.log() == ["1 1"])
    vhost.publish("in the way")
    (rqtool.cwd / "go").touch()
    assert worker.wait().code == 0

    def on_its_way() -> bool:  # as the management API says, which is some seconds late
        row = vhost.row("task_queue.retry.1s")
        return (row.get("messages_ready"), row.get("messages")) == (0, 1)

    eventually(on_its_way)
    assert vhost.bodies() == [b"in the way"]
    # The broker offers it again three minutes later; RabbitMQ 4.3 as soon as there is room.
    drainer = rqtool.start("work", "--drain", "--retry-delays", "none", "--", *FAIL)
    eventually(lambda: "1 2" in rqtool.log() or "waiting for 1 task to be tried again" in drainer.stderr)
    assert "1 2" in rqtool.log() or drainer.process.poll() is None


@pytest.mark.usefixtures("old_places")
def test_drain_without_the_management_api_sees_its_own_retries(rqtool: Program, vhost: Vhost) -> None:
    """Its own delays are looked at over AMQP; what can't be seen is said."""
    vhost.publish("1")
    ended = rqtool(
        "work", "--drain", "--retry-delays", "100ms,200ms", "--", *FAIL, env={"RQTOOL_API_URL": "http://127.0.0.1:1"}
    )
    assert ended.code == 1
    assert "Tasks that other workers hold can't be seen, nor retries with other delays" in ended.stderr
    assert rqtool.log() == ["1 1", "1 2", "1 3"]

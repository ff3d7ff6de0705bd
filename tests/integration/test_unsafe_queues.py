"""Queues that may lose what they confirmed are refused, named, and used only if the user says so."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests.integration.test_watch import Terminal
from tests.tools import Ended, Program, Vhost, eventually, lines

DROPPING: dict[str, dict[str, str | int]] = {
    "x-max-length=50": {"x-max-length": 50},
    "x-max-length-bytes=5000": {"x-max-length-bytes": 5000},
    "x-message-ttl=60000": {"x-message-ttl": 60_000},
    "x-expires=600000": {"x-expires": 600_000},
    "x-max-length=7": {"x-max-length": 7, "x-max-priority": 3, "x-overflow": "drop-head"},
    "x-delivery-limit=3": {"x-queue-type": "quorum", "x-delivery-limit": 3},
    "x-max-length=9": {"x-queue-type": "quorum", "x-max-length": 9},
    "x-delivery-limit=4": {"x-queue-type": "quorum", "x-delivery-limit": 4, "x-dead-letter-exchange": "no_such"},
    "x-delivery-limit=5": {
        "x-queue-type": "quorum",
        "x-delivery-limit": 5,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "no_such",
    },
}
KEEPING: dict[str, dict[str, str | int]] = {
    "full": {"x-max-length": 50, "x-overflow": "reject-publish"},
    "priorities": {"x-max-priority": 3},
    "routed": {"x-queue-type": "quorum", "x-delivery-limit": 3, "x-dead-letter-exchange": ""},
    "exchange": {"x-queue-type": "quorum", "x-delivery-limit": 3, "x-dead-letter-exchange": "amq.fanout"},
    "to the dead": {
        "x-queue-type": "quorum",
        "x-delivery-limit": 3,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "task_queue.dead",
    },
    "endless": {"x-queue-type": "quorum", "x-delivery-limit": 100_000},
}


@pytest.mark.parametrize("setting", DROPPING)
def test_a_queue_that_may_drop_is_refused(rqtool: Program, vhost: Vhost, setting: str) -> None:
    """Whatever else differs; --accept-loss uses it, and says so in a line."""
    vhost.declare("task_queue", **DROPPING[setting])
    refused(rqtool("send", "x"), setting)
    assert vhost.ready() == 0
    sent = rqtool("send", "--accept-loss", "x")
    assert (sent.code, sent.stdout) == (0, " [x] Sent 'x'\n")
    assert sent.stderr.count("may drop tasks") == 1


def refused(ended: Ended, setting: str) -> None:
    assert ended.code == 78, ended
    assert f"may drop tasks that it has confirmed: {setting}. " in ended.stderr
    assert "--accept-loss" in ended.stderr


def test_a_worker_refuses_it_too(rqtool: Program, vhost: Vhost) -> None:
    """Likewise, of either type."""
    for setting in ("x-max-length=50", "x-delivery-limit=3"):
        vhost.declare("task_queue", **DROPPING[setting])
        refused(rqtool("work", "--drain"), setting)
        worked = rqtool("work", "--drain", "--accept-loss", "--", "true")
        assert worked.code == 0, worked
        assert worked.stderr.count("may drop tasks") == 1


def test_a_refused_worker_waits_for_nothing(vhost: Vhost) -> None:
    """On a terminal it says that it waits for tasks when it does."""
    vhost.declare("task_queue", **DROPPING["x-max-length=50"])
    terminal = Terminal(vhost, 200, "work")
    assert terminal.end(seconds=20) == 78
    assert b"may drop tasks" in terminal.shown
    assert b"waiting for tasks" not in terminal.shown
    accepting = Terminal(vhost, 200, "work", "--accept-loss")
    try:
        eventually(lambda: b"waiting for tasks in 'task_queue'; Ctrl-C stops after" in accepting.read())
        accepting.process.send_signal(signal.SIGINT)
        assert accepting.end() == 0
    finally:
        terminal.close()
        accepting.close()


def test_a_failed_task_can_go_back_there(rqtool: Program, vhost: Vhost) -> None:
    """The error of `dead retry` names an option that it has."""
    vhost.declare("task_queue", **DROPPING["x-max-length=50"])
    assert rqtool("send", "--accept-loss", "x").code == 0
    assert rqtool("work", "--drain", "--accept-loss", "--retry-delays", "none", "--", "false").code == 1
    kept = rqtool("dead", "retry")
    assert (kept.code, vhost.ready("task_queue.dead")) == (78, 1)
    assert "or --accept-loss to use it all the same" in kept.stderr
    back = rqtool("dead", "retry", "--accept-loss")
    assert (back.code, back.stdout) == (0, " [x] Put 1 task back into 'task_queue'\n")
    assert back.stderr == "rqtool: queue 'task_queue' may drop tasks that it has confirmed: x-max-length=50\n"
    assert vhost.bodies() == [b"x"]


@pytest.mark.empty_vhost
@pytest.mark.parametrize("more", [{}, {"x-max-priority": 3}, {"x-max-length": 50}])
def test_a_queue_that_is_not_durable(rqtool: Program, vhost: Vhost, more: dict[str, int]) -> None:
    """Refused, and used with --accept-loss, like one that drops. It is no quorum queue for all that."""
    vhost.api("PUT", f"/api/queues/{vhost.path}/task_queue", {"durable": False, "arguments": more})
    refused = rqtool("send", "x")
    assert refused.code == 78
    assert "'task_queue' exists and is not durable" in refused.stderr
    assert "--accept-loss" in refused.stderr
    sent = rqtool("send", "--accept-loss", "x")
    assert (sent.code, sent.stdout) == (0, " [x] Sent 'x'\n")
    assert sent.stderr.startswith("rqtool: queue 'task_queue' may drop tasks that it has confirmed: not durable")
    assert len(sent.stderr.splitlines()) == 1
    worked = rqtool("work", "--drain", "--accept-loss", "--", "echo", "{}")
    assert (worked.code, "x\n" in worked.stdout, worked.stderr.count("not durable")) == (0, True, 1), worked
    quorum = rqtool("send", "--accept-loss", "--type", "quorum", "x")
    assert (quorum.code, "--accept-loss" in quorum.stderr) == (78, False), quorum


@pytest.mark.parametrize("name", KEEPING)
def test_a_queue_that_keeps_is_adopted(rqtool: Program, vhost: Vhost, name: str) -> None:
    """Whatever its other arguments are, without a word."""
    vhost.declare("task_queue", **KEEPING[name])
    assert rqtool("send", "x").stderr == ""
    worked = rqtool("work", "--drain", "--quiet", "--", "true")
    assert (worked.code, worked.stderr) == (0, "")


@pytest.mark.parametrize("name", ["task_queue.dead", "task_queue.retry.1s", "task_queue.returned"])
def test_a_queue_beside_that_may_drop_is_never_used(rqtool: Program, vhost: Vhost, name: str) -> None:
    """Not even with --accept-loss: the worker would say that a task is safe there."""
    vhost.declare(name, **{"x-max-length": 5})
    ended = rqtool("work", "--drain", "--accept-loss", "--retry-delays", "1s")
    assert ended.code == 78, ended
    assert f"Queue '{name}'" in ended.stderr
    assert "Delete it when it is empty" in ended.stderr


@pytest.mark.parametrize("name", ["task_queue.dead", "task_queue.returned"])
@pytest.mark.parametrize("options", [{"auto_delete": True}, {"arguments": {"x-queue-type": "stream"}}])
def test_a_queue_beside_that_is_no_place_for_tasks(
    rqtool: Program, vhost: Vhost, name: str, options: dict[str, object]
) -> None:
    """Its name can't be another one: the advice is to delete it."""
    vhost.api("PUT", f"/api/queues/{vhost.path}/{name}", {"durable": True, **options})
    ended = rqtool("work", "--drain", "--", "true")
    assert ended.code == 78, ended
    assert f"'{name}'" in ended.stderr
    assert "Delete it when it is empty" in ended.stderr
    assert "--queue" not in ended.stderr


def test_a_policy_that_drops_is_said(rqtool: Program, vhost: Vhost) -> None:
    """AMQP does not tell of it; workers and senders ask the management API, and say so once of each queue."""
    policy = {"pattern": "task_queue", "definition": {"max-length": 50}, "apply-to": "queues"}
    vhost.api("PUT", f"/api/policies/{vhost.path}/short", policy)
    worker = rqtool.start("work")
    sender = rqtool.start("send", stdin=subprocess.PIPE)
    for running in (worker, sender):
        running.says("queue 'task_queue' may drop tasks that it has confirmed: policy max-length=50")
    worker.says("queue 'task_queue.dead' may drop")
    sender.write(b"x\n")
    sender.close_input()
    assert sender.wait().code == 0
    worker.signal(signal.SIGTERM)
    assert worker.wait().code == 0
    # The API knows of the policy by now: a worker says so, however soon it ends.
    brief = rqtool("work", "--drain", "--", "true")
    assert brief.stderr.count("queue 'task_queue' may drop tasks") == 1, brief


@pytest.mark.empty_vhost
@pytest.mark.parametrize("how", ["there", "default"])
def test_a_limit_that_nobody_set(rqtool: Program, vhost: Vhost, how: str) -> None:
    """RabbitMQ 4 drops what came back 20 times to a quorum queue without arguments. It is used all the same: rqtool's
    workers move a task away when it first comes back, and are ready for that before the first delivery.
    """
    if how == "default":
        vhost.api("PUT", f"/api/vhosts/{vhost.path}", {"default_queue_type": "quorum"})
    else:
        vhost.declare("task_queue", **{"x-queue-type": "quorum"})
    sent = rqtool("send", "x")
    assert (sent.code, sent.stderr) == (0, "")
    has_limit = int(vhost.api("GET", "/api/overview")["rabbitmq_version"].split(".")[0]) >= 4
    worker = rqtool.start("work", "--", "sh", "-c", "touch begun; sleep 1000")
    eventually((rqtool.cwd / "begun").exists)
    eventually(lambda: roles(vhost) == ({"work", "work, retries"} if has_limit else {"work"}), what=repr(worker))


def roles(vhost: Vhost) -> set[str]:
    connections = vhost.api("GET", f"/api/vhosts/{vhost.path}/connections")
    return {row["client_properties"]["rqtool"]["role"] for row in connections if "client_properties" in row}


def test_what_comes_back_can_be_moved_at_once(rqtool: Program, vhost: Vhost) -> None:
    """Each death of a worker before it has moved what came back brings that nearer to the queue's delivery limit: it
    consumes such a queue last, when all that it needs to move a task is open.
    """
    vhost.declare("task_queue", **DROPPING["x-delivery-limit=3"])
    worker = rqtool.start("work", "--accept-loss")
    eventually(lambda: vhost.consumers() == 1, what=repr(worker))
    eventually(lambda: roles(vhost) == {"work", "work, retries"}, what=repr(worker))


def test_settings_that_this_user_may_not_see_are_said(rqtool: Program, vhost: Vhost) -> None:
    """Who may not declare a queue learns no arguments from AMQP. The management API tells a worker."""
    vhost.declare("task_queue", **{"x-max-length": 50})
    vhost.api("PUT", "/api/users/unseeing", {"password": "unseeing", "tags": "monitoring"})
    vhost.api("PUT", f"/api/permissions/{vhost.path}/unseeing", {"configure": "", "write": ".*", "read": ".*"})
    unseeing = Vhost(vhost.node, vhost.name, "unseeing", "unseeing").environment
    said = "this user may not see the settings of queue 'task_queue'"
    sent = rqtool("send", "x", env=unseeing)
    assert (sent.code, sent.stderr.count(said)) == (0, 1), sent
    assert rqtool("send", "--quiet", "x", env=unseeing).stderr == ""
    worker = rqtool.start("work", env=unseeing)
    worker.says(said)
    worker.says("queue 'task_queue' may drop tasks that it has confirmed: x-max-length=50")
    rqtool.end_all()
    vhost.api("DELETE", "/api/users/unseeing")


def test_what_it_takes_to_create_a_queue_that_dead_letters(rqtool: Program, vhost: Vhost) -> None:
    """A delay queue: the broker asks for read permission, too."""
    vhost.api("PUT", "/api/users/unreading", {"password": "unreading", "tags": ""})
    vhost.api("PUT", f"/api/permissions/{vhost.path}/unreading", {"configure": ".*", "write": ".*", "read": ""})
    sent = rqtool("send", "--delay", "9s", "x", env=Vhost(vhost.node, vhost.name, "unreading", "unreading").environment)
    vhost.api("DELETE", "/api/users/unreading")
    assert sent.code == 77, sent
    assert "or for configure permission, with read and write if it dead-letters" in sent.stderr


@pytest.mark.parametrize("limit", [{"x-max-length": 50}, {"x-max-length-bytes": 500}])
def test_transactions_are_refused_on_quorum_queues(rqtool: Program, vhost: Vhost, limit: dict[str, int]) -> None:
    """The broker commits what a full one does not take: 600 of 600 called sent, 50 there."""
    tasks = lines(*(b"%d" % n for n in range(600)))
    vhost.declare("theirs", **{"x-queue-type": "quorum", "x-overflow": "reject-publish"}, **limit)
    for options in (["-q", "theirs"], ["-q", "own", "--type", "quorum"]):
        ended = rqtool("send", *options, "--guarantee", "tx", input=tasks)
        assert ended.code == 78, ended
        assert "is a quorum queue" in ended.stderr
    assert vhost.ready("theirs") == 0
    confirmed = rqtool("send", "-q", "theirs", "--json", "--give-up", "2s", input=tasks)
    assert confirmed.code == 1
    eventually(lambda: f'"confirmed": {vhost.ready("theirs")},' in confirmed.stdout)
    assert rqtool("send", "-q", "plain", "--guarantee", "tx", input=tasks).code == 0
    assert vhost.ready("plain") == 600

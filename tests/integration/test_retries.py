"""Verdicts on a real broker: done, tried again after a delay, given up; the copy is confirmed before the ack."""

from __future__ import annotations

import json
import re
import signal
from datetime import UTC, datetime, timedelta
from typing import Any

import pika
import pytest

from rqtool.topology import QueueType
from tests.old_queues import declare_all
from tests.tools import Program, Vhost, eventually, lines

# Writes what it was given, and ends as the body says: a number is an exit code.
VERDICT = ["sh", "-c", 'b=$(cat); echo "$b $RQTOOL_TASK_ATTEMPT" >> log; echo "no: $b" >&2; exit "$b"']
REFUSING: dict[str, str | int] = {
    "x-message-ttl": 1000,
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": "task_queue",
    "x-max-length": 0,
    "x-overflow": "reject-publish",
}
"""A wait queue that is always full."""
FAST = ["--retry-delays", "100ms,200ms"]


def arguments_of(vhost: Vhost, queue: str) -> dict[str, Any]:
    """What a queue was declared with."""
    arguments: dict[str, Any] = vhost.api("GET", f"/api/queues/{vhost.path}/{queue}")["arguments"]
    return arguments


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_a_task_that_always_fails(rqtool: Program, vhost: Vhost, kind: QueueType) -> None:
    """It is tried once and after each delay, ends in the dead queue with the reasons; --drain waits for all that."""
    declare_all(vhost, "task_queue", kind, FAST[1])
    rqtool("send", "--type", kind, "3", "0", "--header", "Trace-Id=7")
    ended = rqtool("work", "--drain", *FAST, "--", *VERDICT)

    assert ended.code == 1
    assert sorted(rqtool.log()) == ["0 1", "3 1", "3 2", "3 3"]
    assert "'3' failed (exit code 3); attempt 2 follows in 100ms" in ended.stderr
    assert "'3' failed (exit code 3); attempt 3 follows in 200ms" in ended.stderr
    assert "1 task ended in 'task_queue.dead'" in ended.stderr
    [(properties, body)] = vhost.take_all("task_queue.dead")
    assert body == b"3"
    assert properties.headers is not None
    headers = dict(properties.headers)
    assert headers.pop("x-rqtool-copy")
    headers.pop("x-delivery-count", None)
    assert datetime.now(UTC) - datetime.fromisoformat(headers.pop("x-rqtool-failed-at")) < timedelta(seconds=90)
    assert re.fullmatch(r".+:\d+", headers.pop("x-rqtool-worker"))
    assert headers == {"x-rqtool-error": "exit code 3\nno: 3", "x-rqtool-attempts": 3, "Trace-Id": "7"}
    assert vhost.figures() == (0, 0)


@pytest.mark.usefixtures("old_places")
def test_exit_codes_are_verdicts(rqtool: Program, vhost: Vhost) -> None:
    """65 is given up at once, 75 is tried again, a signal is a failure."""
    for queue in ("temporary", "killed"):
        declare_all(vhost, queue, None, FAST[1])
    vhost.publish("65")
    vhost.publish("75", queue="temporary")
    vhost.publish("x", queue="killed")
    assert rqtool("work", "--drain", *FAST, "--", *VERDICT).code == 1
    assert rqtool.log() == ["65 1"]
    later = 'echo "$RQTOOL_TASK_ATTEMPT" >> later; [ "$RQTOOL_TASK_ATTEMPT" = 2 ] || exit 75'
    temporary = rqtool("work", "-q", "temporary", "--drain", *FAST, "--", "sh", "-c", later)
    assert temporary.code == 0
    assert (rqtool.cwd / "later").read_text() == "1\n2\n"
    assert "'75' asks for another attempt (exit code 75); attempt 2 follows in 100ms" in temporary.stderr
    killed = rqtool("work", "-q", "killed", "--drain", "--retry-delays", "none", "--", "sh", "-c", "kill -9 $$")
    assert killed.code == 1
    assert "'x' was given up at attempt 1 (killed by SIGKILL) and is in 'killed.dead'" in killed.stderr


@pytest.mark.usefixtures("old_places")
def test_no_retries(rqtool: Program, vhost: Vhost) -> None:
    """--retry-delays none gives a task one attempt; without --drain the exit code of a worker is its own."""
    vhost.publish("1")
    worker = rqtool.start("work", "--retry-delays", "none", "--", *VERDICT)
    worker.says("was given up")
    worker.signal(signal.SIGTERM)
    assert worker.wait().code == 0
    assert rqtool.log() == ["1 1"]
    assert vhost.bodies("task_queue.dead") == [b"1"]


@pytest.mark.usefixtures("old_places")
def test_a_copy_is_the_same_task(rqtool: Program, vhost: Vhost) -> None:
    """Properties and headers of other programs survive, in their types; what the broker added, and CC, does not."""
    vhost.declare("elsewhere")
    headers = {"number": 7, "flag": True, "list": [1, "a"], "table": {"k": "v"}, "x-death": [{"count": 99}], "CC": []}
    properties = pika.BasicProperties(
        content_type="text/x", content_encoding="zip", correlation_id="c", reply_to="r", type="t", app_id="other",
        message_id="same", priority=3, timestamp=1000, expiration="600000", user_id=vhost.user, headers=headers,
    )  # type: ignore[no-untyped-call]  # fmt: skip
    with vhost.channel() as channel:
        channel.basic_publish("", "task_queue", b"1", properties)
    assert rqtool("work", "--drain", "--retry-delays", "100ms", "--", *VERDICT).code == 1
    [(copy, _)] = vhost.take_all("task_queue.dead")

    kept = [
        "content_type",
        "content_encoding",
        "correlation_id",
        "reply_to",
        "type",
        "app_id",
        "message_id",
        "priority",
    ]
    assert [getattr(copy, name) for name in kept] == [getattr(properties, name) for name in kept]
    assert (copy.timestamp, copy.delivery_mode, copy.expiration, copy.user_id) == (1000, 2, None, None)
    own = {name: value for name, value in (copy.headers or {}).items() if not name.startswith("x-rqtool-")}
    assert own == {"number": 7, "flag": True, "list": [1, "a"], "table": {"k": "v"}}


@pytest.mark.usefixtures("old_places")
def test_a_task_for_several_queues_is_retried_in_one(rqtool: Program, vhost: Vhost) -> None:
    """A retry of a task that came with CC goes to its own queue alone."""
    vhost.declare("other")
    with vhost.channel() as channel:
        properties = pika.BasicProperties(headers={"CC": ["other"]})  # type: ignore[no-untyped-call]
        channel.basic_publish("", "task_queue", b"1", properties)
    assert rqtool("work", "--drain", *FAST, "--", *VERDICT).code == 1
    assert vhost.bodies("other") == [b"1"]


LIMITS = {"x-queue-type": "quorum", "x-delivery-limit": 100_000}
HOME = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "task_queue", "x-message-ttl": 100}
SAFE = {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}


def test_the_queues_beside_a_plain_one(rqtool: Program, vhost: Vhost) -> None:
    """Whoever declares the dead queue as the tutorial declares queues shares it; the wait queue sends tasks home, and
    waits for the confirm.
    """
    vhost.publish("1")
    rqtool("work", "--drain", "--retry-delays", "100ms", "--", *VERDICT)
    vhost.declare("task_queue.dead")
    assert set(arguments_of(vhost, "task_queue.dead")) <= {"x-queue-type"}
    assert arguments_of(vhost, "task_queue.retry.100ms") == LIMITS | HOME | SAFE


@pytest.mark.empty_vhost
@pytest.mark.parametrize("how", ["asked", "there", "default"])
def test_the_queues_beside_a_quorum_queue(rqtool: Program, vhost: Vhost, how: str) -> None:
    """They are quorum queues too, and none drops a task after some deliveries, whoever made the queue one."""
    if how == "default":
        vhost.api("PUT", f"/api/vhosts/{vhost.path}", {"default_queue_type": "quorum"})
    if how == "there":
        vhost.declare("task_queue", **{"x-queue-type": "quorum"})
    rqtool("send", *(["--type", "quorum"] if how == "asked" else []), "1")
    rqtool(
        "work", *(["--type", "quorum"] if how == "asked" else []), "--drain", "--retry-delays", "100ms", "--", *VERDICT
    )
    if arguments_of(vhost, "task_queue").get("x-queue-type") != "quorum":
        assert how == "default"  # RabbitMQ 3.10 has no such default
        return
    assert arguments_of(vhost, "task_queue.dead") == LIMITS
    assert arguments_of(vhost, "task_queue.retry.100ms") == LIMITS | HOME | SAFE


@pytest.mark.usefixtures("old_places")
def test_a_retry_that_is_not_confirmed(rqtool: Program, vhost: Vhost) -> None:
    """While the wait queue refuses it the task stays unacknowledged and nothing is begun; then it goes on."""
    vhost.declare("task_queue.retry.1s", **REFUSING)
    vhost.publish("1", "2")
    worker = rqtool.start("work", "--prefetch", "2", "--retry-delays", "1s", "--", *VERDICT)
    worker.says("a task can't be stored in 'task_queue.retry.1s'")
    eventually(lambda: vhost.figures() == (0, 2))
    before = rqtool.log()
    with vhost.channel() as channel:
        channel.queue_delete("task_queue.retry.1s")
    eventually(lambda: vhost.exists("task_queue.dead") and vhost.ready("task_queue.dead") == 2)
    worker.signal(signal.SIGTERM)

    assert worker.wait().code == 0
    assert before == ["1 1"]
    assert sorted(rqtool.log()) == ["1 1", "1 2", "2 1", "2 2"]
    assert sorted(vhost.bodies("task_queue.dead")) == [b"1", b"2"]


@pytest.mark.usefixtures("old_places")
def test_a_dead_queue_that_is_deleted_under_the_worker(rqtool: Program, vhost: Vhost) -> None:
    """The broker acks a copy that no queue took, and returns it: the task is kept until the queue is there again."""
    worker = rqtool.start("work", "--retry-delays", "none", "--", "false")
    for task in ("1", "2"):
        rqtool("send", task)
        eventually(lambda: vhost.exists("task_queue.dead") and vhost.ready("task_queue.dead") == 1, what=repr(worker))
        assert vhost.bodies("task_queue.dead") == [task.encode()]
        with vhost.channel() as channel:
            channel.queue_delete("task_queue.dead")


def test_a_wait_queue_of_another_make(rqtool: Program, vhost: Vhost) -> None:
    """One that would swallow the task is refused: exit code 78, one line, the task is back."""
    vhost.declare("task_queue.retry.1s")
    vhost.publish("1")
    ended = rqtool("work", "--retry-delays", "1s", "--", *VERDICT)
    assert ended.code == 78
    assert "'task_queue.retry.1s' exists with x-message-ttl=None" in ended.stderr
    assert vhost.bodies() == [b"1"]


def test_stopping_while_a_retry_can_not_be_stored(rqtool: Program, vhost: Vhost) -> None:
    """SIGTERM ends the worker within seconds all the same, and the task is the broker's again."""
    vhost.declare("task_queue.retry.1s", **REFUSING)
    vhost.publish("1")
    worker = rqtool.start("work", "--retry-delays", "1s", "--", *VERDICT)
    worker.says("a task can't be stored")
    worker.signal(signal.SIGTERM)
    assert worker.wait().code == 0
    eventually(lambda: vhost.figures() == (1, 0))


@pytest.mark.usefixtures("old_places")
def test_stopping_while_a_redelivered_task_can_not_be_moved(rqtool: Program, vhost: Vhost) -> None:
    """A queue that takes no copy of it holds up neither SIGTERM nor the task, which is the broker's again."""
    vhost.publish("0")
    holder = rqtool.start("work", "--retry-delays", "1s", "--", "sleep", "300")
    eventually(lambda: vhost.figures() == (0, 1))
    holder.kill()
    full = {"pattern": "returned$", "definition": {"max-length": 1, "overflow": "reject-publish"}, "apply-to": "queues"}
    with vhost.channel() as channel:

        def is_full() -> bool:
            try:
                channel.basic_publish("", "task_queue.returned", b"long")
            except pika.exceptions.NackError:
                return True
            return False

        # More than the worker takes out ahead: it stays full.
        assert not any(is_full() for _ in range(50))
        vhost.api("PUT", f"/api/policies/{vhost.path}/full", full)
        eventually(is_full)
    worker = rqtool.start("work", "--retry-delays", "1s", "--", "sh", "-c", "cat >> log; echo >> log; sleep 3")
    worker.says("a task can't be stored in 'task_queue.returned'")
    worker.signal(signal.SIGTERM)
    assert worker.wait().code == 0
    assert set(rqtool.log()) == {"long"}
    eventually(lambda: vhost.figures() == (1, 0))


@pytest.mark.usefixtures("old_places")
def test_json_events_tell_it_all(rqtool: Program, vhost: Vhost) -> None:
    """One line per event, with time, id, attempt, seconds and exit code."""
    vhost.publish("4")
    ended = rqtool("work", "--json", "--drain", "--retry-delays", "100ms", "--", *VERDICT)
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [(e["event"], e["attempt"]) for e in events] == [
        ("received", 1), ("failed", 1), ("retry", 1), ("received", 2), ("failed", 2), ("dead", 2),
    ]  # fmt: skip
    assert len({e["id"] for e in events}) == 1
    assert all(datetime.fromisoformat(e["time"]) for e in events)
    assert [e["exit_code"] for e in events if e["event"] != "received"] == [4, 4, 4, 4]
    assert all(0 <= e["seconds"] < 60 for e in events if e["event"] != "received")
    assert (events[2]["delay"], events[2]["why"]) == ("100ms", "exit code 4")
    assert events[-1]["queue"] == "task_queue.dead"


@pytest.mark.usefixtures("old_places")
def test_a_timeout_is_a_failed_attempt(rqtool: Program, vhost: Vhost) -> None:
    """The whole process group is ended, and the task is tried again or given up."""
    vhost.publish("x")
    script = "echo $$ >> pids; sleep 300 & echo $! >> pids; wait"
    ended = rqtool("work", "--drain", "--timeout", "500ms", "--retry-delays", "none", "--", "sh", "-c", script)
    assert ended.code == 1
    assert "'x' was given up at attempt 1 (timed out after 500ms)" in ended.stderr
    [(properties, _)] = vhost.take_all("task_queue.dead")
    assert (properties.headers or {})["x-rqtool-error"] == "timed out after 500ms"


def test_grace(rqtool: Program, vhost: Vhost) -> None:
    """A worker that is told to stop kills what takes longer than --grace; the broker delivers it again."""
    vhost.publish("x")
    worker = rqtool.start("work", "--grace", "1s", "--", "sh", "-c", "echo on >> log; sleep 300")
    eventually(lambda: rqtool.log() == ["on"])
    worker.signal(signal.SIGTERM)
    ended = worker.wait(20)
    assert ended.code == 143
    assert "the time of --grace is over: the broker delivers 1 unfinished task again" in ended.stderr
    eventually(lambda: vhost.figures() == (1, 0))


@pytest.mark.usefixtures("old_places")
def test_many_failures_at_once(rqtool: Program, vhost: Vhost) -> None:
    """A hundred failing tasks side by side: each is tried twice, none is lost, none is there twice."""
    tasks = [b"1"] * 50 + [b"2"] * 50
    rqtool("send", input=lines(*tasks))
    ended = rqtool("work", "--drain", "-j", "10", "--prefetch", "50", "--retry-delays", "100ms", "--", *VERDICT)
    assert ended.code == 1
    assert len(rqtool.log()) == 200
    assert sorted(vhost.bodies("task_queue.dead")) == tasks

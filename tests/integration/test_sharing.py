"""rqtool and the tutorial's own programs work on the same queue, whoever declares it."""

from __future__ import annotations

import hashlib

import pika
import pika.exceptions
import pytest

from tests.tools import Program, Vhost

BODIES = [b"plain.", "ünï…".encode(), b"", b"\0\xff binary", b"z" * 5_000_000]


def test_rqtool_sends_and_the_tutorial_works(rqtool: Program, vhost: Vhost) -> None:
    """Rqtool declares first: the tutorial's worker declares the same queue and gets every task intact."""
    for body in BODIES:
        assert rqtool("send", "--whole", input=body).code == 0

    with vhost.channel() as channel:
        channel.queue_declare(queue="task_queue", durable=True)
        channel.basic_qos(prefetch_count=1)
        received: list[tuple[bytes | None, int | None, bool]] = []
        for method, properties, delivered in channel.consume("task_queue", inactivity_timeout=10):
            assert method is not None, f"no further delivery after {len(received)}"
            assert properties is not None
            received.append((delivered, properties.delivery_mode, bool(properties.message_id)))
            channel.basic_ack(method.delivery_tag)
            if len(received) == len(BODIES):
                break
    assert [(body, 2, True) for body in BODIES] == received


def test_the_tutorial_sends_and_rqtool_works(rqtool: Program, vhost: Vhost) -> None:
    """The tutorial's sender declares first: rqtool's command gets every body, byte for byte."""
    with vhost.channel() as channel:
        channel.queue_declare(queue="task_queue", durable=True)
        properties = pika.BasicProperties(delivery_mode=2)  # type: ignore[no-untyped-call]
        for body in BODIES:
            channel.basic_publish("", "task_queue", body, properties)
    ended = rqtool("work", "--quiet", "--drain", "--", "sh", "-c", "md5sum > $(mktemp sum.XXXXXX)")

    sums = {path.read_text().split()[0] for path in rqtool.cwd.glob("sum.*")}
    assert ended.code == 0
    assert {hashlib.md5(body).hexdigest() for body in BODIES} == sums
    assert vhost.figures() == (0, 0)


ADOPTED: list[dict[str, str | int]] = [
    {},
    {"x-queue-type": "classic"},
    {"x-queue-type": "quorum"},
    {"x-max-priority": 5},
    {"x-max-length": 100, "x-overflow": "reject-publish", "x-max-priority": 3},
    {"x-queue-type": "quorum", "x-delivery-limit": 7, "x-dead-letter-exchange": ""},
]


@pytest.mark.parametrize("arguments", ADOPTED, ids=lambda arguments: " ".join(arguments) or "plain")
def test_a_queue_with_other_arguments_is_adopted(
    rqtool: Program, vhost: Vhost, arguments: dict[str, str | int]
) -> None:
    """Without --type any durable queue will do, with the arguments that it has."""
    vhost.declare("theirs", **arguments)

    assert rqtool("send", "-q", "theirs", "x").code == 0
    assert rqtool("work", "-q", "theirs", "--max-tasks", "1").code == 0


@pytest.mark.parametrize("arguments", ADOPTED, ids=lambda arguments: " ".join(arguments) or "plain")
@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_an_explicit_type_must_be_the_type(
    rqtool: Program, vhost: Vhost, arguments: dict[str, str | int], kind: str
) -> None:
    """--type that differs from what exists is refused, whatever other arguments differ besides."""
    vhost.declare("theirs", **arguments)
    actual = arguments.get("x-queue-type", "classic")
    ended = rqtool("send", "-q", "theirs", "--type", kind, "x")

    if kind == actual:
        assert (ended.code, ended.stderr) == (0, "")
    else:
        assert ended.code == 78
        assert f"exists and is a {actual} queue, not a {kind} one" in ended.stderr


def test_queues_that_would_lose_tasks_are_refused(rqtool: Program, vhost: Vhost) -> None:
    """Not durable, self-deleting or exclusive: exit code 78, the queue's name, and another name to use."""
    with vhost.channel() as channel:
        channel.queue_declare("alone", durable=True, exclusive=True)
        channel.queue_declare("fickle", durable=True, auto_delete=True)
        refusals = {
            "alone": "exclusive to another connection",
            "fickle": "auto_delete=true",
        }
        try:
            # On a connection of its own: a broker that no longer has such queues closes it, and `alone` is to stay.
            with vhost.channel() as other:
                other.queue_declare("weak", durable=False)
        except pika.exceptions.AMQPError as error:
            if "541" not in str(error):
                raise
        else:
            refusals["weak"] = "not durable: its tasks would not survive a restart of the broker"
        for queue, why in refusals.items():
            for verb in (["send", "x"], ["work"], ["send", "x", "--type", "quorum"]):
                ended = rqtool(*verb, "-q", queue)
                assert ended.code == 78
                assert why in ended.stderr
                assert f"'{queue}'" in ended.stderr
                assert f"--queue {queue}_durable" in ended.stderr


@pytest.mark.usefixtures("old_places")
@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_a_single_active_consumer(rqtool: Program, vhost: Vhost, kind: str) -> None:
    """Of two workers one works, in the order of the queue, one task at a time; the other one waits in silence."""
    arguments: dict[str, str | int] = {"x-queue-type": kind, "x-single-active-consumer": True}
    vhost.declare("task_queue", **arguments)
    tasks = [*map(str, range(200)), "slow", *map(str, range(200, 400))]
    vhost.publish(*tasks)
    impatient = rqtool.tuned("from rqtool.work import consumer_watch; consumer_watch.POLL = 0.2")
    script = 'read n; echo "$n" >> log; [ "$n" != slow ] || sleep 2; echo "$n" >> log'
    options = ["--drain", "--retry-delays", "1s"]
    workers = [impatient.start("work", *options, "--", "sh", "-c", script) for _ in range(2)]
    ended = [worker.wait() for worker in workers]
    assert [each.code for each in ended] == [0, 0]
    assert rqtool.log() == [task for task in tasks for _ in range(2)]
    assert [each.stderr for each in ended if "consuming anew" in each.stderr] == []

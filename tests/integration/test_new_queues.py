"""A crash of the broker may lose what is in a queue that was made a moment ago: nothing is put there before that."""

from __future__ import annotations

import asyncio
from contextlib import closing

import pytest

from rqtool.amqp.errors import Lost
from rqtool.amqp.message import Envelope, Sealer
from rqtool.amqp.republisher import Republisher
from rqtool.endpoint.urls import Endpoint, parse_broker_urls
from rqtool.topology import LONGEST_NAME, dead, new_marker
from tests.old_queues import declare_siblings
from tests.proxy import Proxy
from tests.tools import Program, Vhost, eventually, throughout

MARKER = new_marker("task_queue")


@pytest.fixture
def patient(rqtool: Program) -> Program:
    """The program, for which a queue is new for as long as the test takes."""
    return rqtool.tuned("from rqtool.amqp import new_queues; new_queues.NEW_SECONDS = 600.0")


@pytest.mark.empty_vhost
@pytest.mark.parametrize(
    ("queue", "kind", "last"),
    [
        ("q", "classic", "q"),
        ("q", "quorum", "q.dead"),
        (LONGEST_NAME * "q", "classic", LONGEST_NAME * "q"),
    ],
    ids=["classic", "quorum", "no room for the mark"],
)
def test_a_queue_of_its_own(patient: Program, vhost: Vhost, queue: str, kind: str, last: str) -> None:
    """`send` makes it, and sends nothing yet."""
    sender = patient.start("send", "-q", queue, "--type", kind, "x")
    eventually(lambda: vhost.exists(last), what=repr(sender))
    throughout(lambda: (sender.process.poll(), vhost.ready(queue)) == (None, 0), 1.0)


@pytest.mark.empty_vhost
def test_the_mark_is_a_classic_queue(patient: Program, vhost: Vhost) -> None:
    """Whatever the vhost's default: RabbitMQ prolongs no quorum queue that is declared again."""
    vhost.api("PUT", f"/api/vhosts/{vhost.path}", {"default_queue_type": "quorum"})
    sender = patient.start("send", "x")
    eventually(lambda: vhost.exists(MARKER), what=repr(sender))
    assert vhost.row(MARKER)["arguments"] == {"x-queue-type": "classic", "x-expires": 600_000}


@pytest.mark.parametrize(
    ("arguments", "source", "place"),
    [
        (["send", "x"], "", "task_queue"),
        (["dead", "retry"], "task_queue.dead", "task_queue"),
        (["work", "--retry-delays", "10m", "--", "false"], "task_queue", "task_queue.retry.10m"),
        (["work", "--retry-delays", "none", "--", "false"], "task_queue", "task_queue.dead"),
    ],
    ids=["send", "dead retry", "retry", "dead"],
)
def test_a_queue_of_another_rqtool(
    patient: Program, vhost: Vhost, arguments: list[str], source: str, place: str
) -> None:
    """The one that made it has left a mark, and every verb looks for that."""
    declare_siblings(vhost, "task_queue", delays="10m")
    vhost.declare(MARKER)
    if source:
        with vhost.channel() as channel:
            channel.basic_publish("", source, b"x")
    program = patient.start(*arguments)
    eventually(lambda: vhost.ready(MARKER) > 0, what=repr(program))
    throughout(lambda: (program.process.poll(), vhost.ready(place)) == (None, 0), 1.0)


def test_a_copy_that_waits_goes_with_its_connection(vhost: Vhost, monkeypatch: pytest.MonkeyPatch) -> None:
    """By then another worker may have the original: no copy of it is published."""
    monkeypatch.setattr("rqtool.amqp.republisher.NEW_SECONDS", 1.0)
    declare_siblings(vhost, "task_queue")
    vhost.declare(MARKER)

    async def deliver(proxy: Proxy) -> None:
        endpoint = Endpoint(parse_broker_urls(vhost.url_at(proxy.port)), ())
        republisher = Republisher(endpoint, "task_queue", None, "test", print)
        copy = Sealer(Envelope()).seal(0, b"x")
        await republisher.prepare(dead("task_queue"))
        delivering = asyncio.ensure_future(republisher.deliver(dead("task_queue"), copy))
        await asyncio.sleep(0)
        proxy.cut()
        with pytest.raises(Lost):
            await delivering
        await republisher.close()

    with closing(Proxy(vhost.node.amqp_port)) as proxy:
        asyncio.run(deliver(proxy))
    assert vhost.ready("task_queue.dead") == 0

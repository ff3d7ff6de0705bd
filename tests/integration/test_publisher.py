"""Publisher on a real broker: each message is settled as the broker answers it, and a silent broker is given up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from rqtool.amqp.connect import connect
from rqtool.amqp.message import Envelope, Sealer
from rqtool.amqp.publisher import Guarantee, Publisher
from rqtool.amqp.window import Settled
from rqtool.endpoint.urls import Endpoint, parse_broker_urls
from tests.proxy import Proxy
from tests.tools import Vhost

SECONDS = 15.0
FULL_AT_5: dict[str, str | int] = {"x-max-length": 5, "x-overflow": "reject-publish"}


class Answers:
    """What a publisher was answered, by position."""

    def __init__(self) -> None:
        self.confirmed: list[int] = []
        self.returned: list[int] = []
        self.nacked: list[int] = []
        self._changed = asyncio.Event()

    def __call__(self, settled: Settled) -> None:
        self.confirmed += [message.position for message in settled.confirmed]
        self.returned += [message.position for message in settled.returned]
        self.nacked += [message.position for message in settled.nacked]
        self._changed.set()

    async def until_answered(self, publisher: Publisher) -> None:
        async with asyncio.timeout(SECONDS):
            while publisher.window:
                self._changed.clear()
                await self._changed.wait()


def _publish(vhost: Vhost, guarantee: Guarantee, queues: list[str]) -> Answers:
    """Publish one message to each of the queues, and wait until all are answered."""
    answers = Answers()

    async def publish() -> None:
        sealer = Sealer(Envelope())
        connection = await connect(Endpoint(parse_broker_urls(vhost.url), ()), "test")
        publisher = await Publisher.open(connection, guarantee, answers)
        for position, queue in enumerate(queues):
            publisher.publish(queue, sealer.seal(position, b"x"))
        publisher.flush()
        await answers.until_answered(publisher)
        await connection.close()

    asyncio.run(publish())
    return answers


@pytest.mark.parametrize("guarantee", ["confirm", "tx", "none"])
def test_what_no_queue_takes_is_returned(vhost: Vhost, guarantee: Guarantee) -> None:
    """The broker acks it too, often together with others; it is never among the confirmed."""
    vhost.declare("here")
    answers = _publish(vhost, guarantee, ["here", "gone", "here"] * 200)
    assert sorted(answers.returned) == list(range(1, 600, 3))
    assert sorted(answers.confirmed) == [position for position in range(600) if position % 3 != 1]
    assert answers.nacked == []
    assert vhost.ready("here") == 400


def test_what_a_full_queue_rejects_is_nacked(vhost: Vhost) -> None:
    """As many are confirmed as the queue holds; the others are nacked."""
    vhost.declare("full", **FULL_AT_5)
    answers = _publish(vhost, "confirm", ["full"] * 20)
    assert sorted(answers.confirmed + answers.nacked) == list(range(20))
    assert len(answers.confirmed) == vhost.ready("full") < 20


@pytest.fixture
def proxy(vhost: Vhost) -> Iterator[Proxy]:
    proxy = Proxy(vhost.node.amqp_port)
    yield proxy
    proxy.close()


def test_a_broker_that_confirms_nothing_is_given_up(
    vhost: Vhost, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection stands and no answer comes: `lost` says so. An idle publisher waits for nothing."""
    monkeypatch.setattr("rqtool.amqp.window.ANSWER_SECONDS", 2.0)
    vhost.declare("here")

    async def publish() -> None:
        answers = Answers()
        sealer = Sealer(Envelope())
        connection = await connect(Endpoint(parse_broker_urls(vhost.url_at(proxy.port)), ()), "test")
        publisher = await Publisher.open(connection, "confirm", answers)
        publisher.publish("here", sealer.seal(0, b"x"))
        publisher.flush()
        await answers.until_answered(publisher)
        proxy.stall("to_client")
        with pytest.raises(TimeoutError):  # longer than the broker may be silent when it owes an answer
            await asyncio.wait_for(asyncio.shield(publisher.lost), 4)
        publisher.publish("here", sealer.seal(1, b"x"))
        publisher.flush()
        async with asyncio.timeout(SECONDS):
            lost = await publisher.lost
        assert str(lost) == "the broker confirms nothing any more"
        assert [message.position for message in publisher.window.abandon()] == [1]
        proxy.mend()
        await connection.close()

    asyncio.run(publish())


def test_an_abandoned_connection_is_closed(vhost: Vhost, proxy: Proxy) -> None:
    """Even if the broker never answers: a worker that opens one after the other must not collect them."""

    async def abandon() -> None:
        connection = await connect(Endpoint(parse_broker_urls(vhost.url_at(proxy.port)), ()), "test")
        proxy.stall()
        connection.abandon()
        async with asyncio.timeout(SECONDS):
            await connection.lost

    asyncio.run(abandon())

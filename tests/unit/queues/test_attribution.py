"""Whose the held messages are, and what the queue's own history says of its holders."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rqtool.management.client import Client
from rqtool.management.queue import Key, Queue
from rqtool.management.samples import Sample
from rqtool.queues.attribution import attribute
from rqtool.queues.history import Deliveries
from rqtool.queues.holders import Holder

Q, QUARANTINE = ("/", "q"), ("/", "q.quarantine")
QUEUE = Queue("/", "q", 0, 3, 1, "running", "classic", True)
WORKER = Holder("/", "q", "worker", Client("w", rqtool="work"), Deliveries(1), "tag")
FOREIGN = replace(WORKER, channel="foreign", client=Client("f"))
GETTER = Holder("/", None, "getter", Client("g"), Deliveries(3))
COUNTED = Deliveries(3, (Sample(10.0, 3),), emptied=5.0, idle_since=7.0)


def queue(held: int, name: str = "q", vhost: str = "/", consumers: int = 0) -> Queue:
    return replace(QUEUE, vhost=vhost, name=name, messages_unacknowledged=held, consumers=consumers)


def channels(queues: list[Queue], *holders: Holder) -> dict[Key, list[str]]:
    """The holders of each queue, by their channels."""
    return {key: [each.channel for each in found] for key, found in attribute(queues, {}, holders).items() if found}


def refined(history: Deliveries, *holders: Holder, held: int = 3, consumers: int = 1) -> Holder:
    """The first holder of q."""
    return attribute([queue(held, consumers=consumers)], {Q: history}, holders)[Q][0]


@pytest.mark.parametrize(("held", "found"), [(1, {QUARANTINE: ["worker"]}), (0, {})])
def test_who_takes_from_the_quarantine_of_a_queue(held: int, found: dict[Key, list[str]]) -> None:
    """The workers of rqtool that consume the queue, and nobody else; it matters where something is held."""
    beside = queue(held, "q.quarantine")
    assert channels([queue(0), beside], WORKER, FOREIGN) == {Q: ["worker", "foreign"]} | found


def test_a_worker_in_a_quarantine_keeps_its_own_history() -> None:
    """That of its consumer, which is on another queue."""
    beside = queue(1, "q.quarantine")
    assert attribute([queue(0), beside], {QUARANTINE: COUNTED}, [WORKER])[QUARANTINE] == [WORKER]


@pytest.mark.parametrize(
    ("queues", "getters", "found"),
    [
        ([queue(3)], [GETTER], {Q: ["getter"]}),
        ([queue(3, vhost="else")], [GETTER], {}),
        ([queue(3), queue(3, "r")], [GETTER], {}),
        ([queue(3), queue(5, "r")], [GETTER], {Q: ["getter"]}),
        ([queue(3), queue(5, "r")], [GETTER, replace(GETTER, channel="too")], {}),
        ([queue(3), queue(5, "r")], [GETTER, replace(GETTER, vhost="else", channel="too")], {Q: ["getter"]}),
    ],
)
def test_a_channel_without_a_consumer(queues: list[Queue], getters: list[Holder], found: dict[Key, list[str]]) -> None:
    """It is named where one queue of its vhost can have given it what it holds, and nobody else there has as many."""
    assert channels(queues, *getters) == found


@pytest.mark.parametrize(("of_channel", "of_queue", "held"), [(1, 3, 3), (3, 1, 3)])
def test_the_only_holder(of_channel: int, of_queue: int, held: int) -> None:
    """It has what the queue has out, and no less than its channel says: either figure may be the older one."""
    found = refined(replace(COUNTED, released=8.0), replace(WORKER, deliveries=Deliveries(of_channel)), held=of_queue)
    assert found.deliveries == Deliveries(held, released=8.0, emptied=5.0)


def test_one_of_several_holders() -> None:
    """Nothing was held by anybody when the queue had nothing out; who has rejected something is not known."""
    found = refined(replace(COUNTED, released=8.0), WORKER, FOREIGN, consumers=2)
    assert found.deliveries == Deliveries(1, emptied=5.0)


def test_consumers_that_share_a_channel() -> None:
    """Where all are on it the queue's history is theirs, but for when it was idle; where others are, or there is no
    history, it is not.
    """
    shared = replace(WORKER, shared=True, deliveries=Deliveries(5, idle_since=9.0))
    own = replace(shared, deliveries=replace(COUNTED, idle_since=9.0), channel_held=5)
    assert refined(COUNTED, shared) == own
    assert refined(COUNTED, shared, FOREIGN, consumers=2) == shared
    assert refined(Deliveries(3), shared) == shared

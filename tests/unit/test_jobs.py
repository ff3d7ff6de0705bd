"""What a worker has in its hands: nothing lost, nothing done twice, no task taken for another."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from rqtool import jobs
from rqtool.jobs import Job, Jobs


@dataclass(frozen=True)
class Delivery:
    """A delivery as the bookkeeping sees it; `tag` tells two deliveries of one task apart."""

    key: str | None
    tag: int = 1
    may_repeat: bool = True


@pytest.fixture
def held() -> Jobs[Delivery]:
    return Jobs(2)


def start(held: Jobs[Delivery]) -> Job[Delivery]:
    job = held.start_next()
    assert job is not None
    return job


def finish(held: Jobs[Delivery], job: Job[Delivery], *, told: bool) -> None:
    held.end(job)
    held.done(job, told=told)


def test_in_order_and_no_more_than_slots(held: Jobs[Delivery]) -> None:
    """Deliveries start in the order they came, as many at once as there are slots."""
    for name in "abc":
        assert held.receive(Delivery(name))
    first, second = start(held), start(held)
    assert (first.delivery.key, second.delivery.key) == ("a", "b")
    assert held.start_next() is None
    held.end(first)
    assert start(held).delivery.key == "c"
    assert held.received == 3


def test_idle(held: Jobs[Delivery]) -> None:
    """Idle before the first task and after the last, and not in between."""
    assert held.idle
    held.receive(Delivery("a"))
    assert not held.idle
    job = start(held)
    assert not held.idle
    held.end(job)
    assert held.idle


@pytest.mark.parametrize("key", ["same", None])
def test_within_a_connection_every_delivery_is_a_task(held: Jobs[Delivery], key: str | None) -> None:
    """Equal ids of another program's are no reason to drop one of two tasks: waiting, at work, or done."""
    assert held.receive(Delivery(key, 1))
    assert held.receive(Delivery(key, 2))
    one, two = start(held), start(held)
    assert (one.delivery.tag, two.delivery.tag) == (1, 2)
    finish(held, one, told=True)
    assert held.receive(Delivery(key, 3))
    assert start(held).delivery.tag == 3


def test_a_task_at_work_when_the_connection_went(held: Jobs[Delivery]) -> None:
    """Its redelivery is settled by the job that runs, and not begun anew; the next one is a task again."""
    held.receive(Delivery("a", 1))
    job = start(held)
    held.connection_lost()
    assert held.receive(Delivery("a", 2))
    assert held.start_next() is None
    assert job.delivery.tag == 2
    assert held.receive(Delivery("a", 3))
    assert start(held).delivery.tag == 3


def test_what_waited_is_the_brokers_again(held: Jobs[Delivery]) -> None:
    """After a lost connection nothing waits here; it comes anew and is worked off."""
    held.receive(Delivery("a", 1))
    held.connection_lost()
    assert held.start_next() is None
    assert held.receive(Delivery("a", 2))
    assert start(held).delivery.tag == 2


@pytest.mark.parametrize("told", [True, False])
def test_no_ack_is_certain_after_its_connection(held: Jobs[Delivery], told: bool) -> None:
    """Done, and its ack lost or in doubt: the redelivery is acked unseen, once for each connection that was lost."""
    held.receive(Delivery("a", 1))
    job = start(held)
    if told:
        finish(held, job, told=True)
        held.connection_lost()
    else:
        held.connection_lost()
        finish(held, job, told=False)
    assert not held.receive(Delivery("a", 2))
    held.connection_lost()
    assert not held.receive(Delivery("a", 3))
    assert held.receive(Delivery("a", 4))


def test_a_failed_task_is_tried_again(held: Jobs[Delivery]) -> None:
    """Only what was done is acked unseen."""
    held.receive(Delivery("a", 1))
    held.end(start(held))
    held.connection_lost()
    assert held.receive(Delivery("a", 2))
    assert start(held).delivery.tag == 2


def test_a_new_message_is_never_taken_for_an_old_one(held: Jobs[Delivery]) -> None:
    """Not flagged and not of rqtool's own: it is work, whatever ids were done before."""
    held.receive(Delivery("a", 1))
    finish(held, start(held), told=True)
    held.connection_lost()
    assert held.receive(Delivery("a", 2, may_repeat=False))
    assert start(held).delivery.tag == 2


def test_the_memory_is_bounded(held: Jobs[Delivery], monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest of more than REMEMBERED are forgotten: done twice is better than memory without end."""
    monkeypatch.setattr(jobs, "REMEMBERED", 2)
    for name in "abc":
        held.receive(Delivery(name))
        finish(held, start(held), told=True)
    held.connection_lost()
    assert [held.receive(Delivery(name, 2)) for name in "abc"] == [True, False, False]


def test_giving_up_returns_what_was_not_begun(held: Jobs[Delivery]) -> None:
    """What waits is handed out for its return; what runs stays."""
    for name in "abc":
        held.receive(Delivery(name))
    job = start(held)
    assert [delivery.key for delivery in held.give_up_waiting()] == ["b", "c"]
    assert {job} == held.running
    assert held.give_up_waiting() == []

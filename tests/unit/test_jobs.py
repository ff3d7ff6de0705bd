"""What a worker has in its hands."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from rqtool import jobs
from rqtool.jobs import Job, Jobs


@dataclass(frozen=True)
class Delivery:
    """One coming of a task."""

    message_id: str | None
    number: int = 1


def _start(held: Jobs[Delivery]) -> Job[Delivery]:
    job = held.start_next()
    assert job is not None
    return job


def _work_off(held: Jobs[Delivery], *, told: bool) -> None:
    """Do the next task, and tell the broker, or not."""
    job = _start(held)
    held.end(job)
    held.done(job, told=told)


@pytest.fixture
def held() -> Jobs[Delivery]:
    return Jobs(2)


def test_deliveries_are_started_in_the_order_they_came(held: Jobs[Delivery]) -> None:
    """First come, first served, up to the number of slots, and on when a slot is free again."""
    for name in "abcd":
        assert held.receive(Delivery(name))
    first, second = _start(held), _start(held)
    assert held.start_next() is None
    held.end(first)
    third = _start(held)
    assert [job.message_id for job in (first, second, third)] == ["a", "b", "c"]
    assert {second, third} == held.running


def test_nothing_waits_nothing_starts(held: Jobs[Delivery]) -> None:
    """An empty buffer has no next job."""
    assert held.start_next() is None


def test_idle_is_neither_waiting_nor_at_work(held: Jobs[Delivery]) -> None:
    """Idle before the first task and after the last, and not in between."""
    assert held.idle
    held.receive(Delivery("a"))
    assert not held.idle
    job = _start(held)
    assert not held.idle
    held.end(job)
    assert held.idle


def test_every_delivery_is_counted(held: Jobs[Delivery]) -> None:
    """`received` counts comings, not tasks."""
    held.receive(Delivery("a", 1))
    _start(held)
    held.receive(Delivery("a", 2))
    held.receive(Delivery(None))
    assert held.received == 3


def test_a_task_that_comes_again_while_at_work_is_settled_by_its_job(held: Jobs[Delivery]) -> None:
    """After a lost connection the running job settles the new delivery, and the work is not begun anew."""
    held.receive(Delivery("a", 1))
    job = _start(held)
    assert held.receive(Delivery("a", 2))
    assert held.start_next() is None
    assert job.deliveries == [Delivery("a", 1), Delivery("a", 2)]
    held.end(job)
    assert held.idle


def test_a_task_that_comes_again_after_its_end_is_work_again(held: Jobs[Delivery]) -> None:
    """Where the ack was told, the same id means a task that was sent again on purpose."""
    held.receive(Delivery("a", 1))
    _work_off(held, told=True)
    assert held.receive(Delivery("a", 2))
    assert _start(held).deliveries == [Delivery("a", 2)]


def test_a_lost_ack_is_made_good_once(held: Jobs[Delivery]) -> None:
    """The next delivery of a task that was done here is acked unseen; one after that is work again."""
    held.receive(Delivery("a", 1))
    _work_off(held, told=False)
    assert not held.receive(Delivery("a", 2))
    assert held.start_next() is None
    assert held.receive(Delivery("a", 3))


def test_the_memory_of_lost_acks_is_bounded(held: Jobs[Delivery], monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest of more than REMEMBERED are forgotten: done twice is better than memory without end."""
    monkeypatch.setattr(jobs, "REMEMBERED", 2)
    for name in "abc":
        held.done(Job([Delivery(name)]), told=False)
    assert [held.receive(Delivery(name)) for name in "abc"] == [True, False, False]


def test_tasks_without_an_id_are_never_taken_for_each_other(held: Jobs[Delivery]) -> None:
    """Two messages without an id are two tasks, at work, remembered or not."""
    held.receive(Delivery(None, 1))
    first = _start(held)
    assert held.receive(Delivery(None, 2))
    second = _start(held)
    assert [first.deliveries, second.deliveries] == [[Delivery(None, 1)], [Delivery(None, 2)]]
    held.end(first)
    held.done(first, told=False)
    assert {second} == held.running
    assert held.receive(Delivery(None, 3))
    assert _start(held).deliveries == [Delivery(None, 3)]


def test_done_without_an_id_leaves_no_doubt(held: Jobs[Delivery]) -> None:
    """What has no id can't be known again, so that no lost connection makes another task without one be acked."""
    held.receive(Delivery(None, 1))
    _work_off(held, told=True)
    held.connection_lost()
    assert held.receive(Delivery(None, 2))
    assert _start(held).deliveries == [Delivery(None, 2)]


def test_what_was_not_begun_is_given_up_in_order(held: Jobs[Delivery]) -> None:
    """The buffer is returned and emptied; what is at work goes on."""
    for name in "abcd":
        held.receive(Delivery(name))
    running = _start(held)
    assert [delivery.message_id for delivery in held.give_up_waiting()] == ["b", "c", "d"]
    assert held.give_up_waiting() == []
    assert held.start_next() is None
    assert {running} == held.running


def test_two_copies_at_work_end_one_by_one(held: Jobs[Delivery]) -> None:
    """Where both copies of a task are at work, the end of one does not hide the other from what comes again."""
    held.receive(Delivery("a", 1))
    held.receive(Delivery("a", 2))
    first, second = _start(held), _start(held)
    held.end(first)
    assert held.receive(Delivery("a", 3))
    assert held.start_next() is None
    assert {second} == held.running


def test_no_delivery_is_left_unsettled(held: Jobs[Delivery]) -> None:
    """A copy that comes on the same channel while the first is at work: the result settles both, none is forgotten."""
    held.receive(Delivery("a", 1))
    job = _start(held)
    held.receive(Delivery("a", 2))
    held.end(job)
    assert held.idle
    assert job.deliveries == [Delivery("a", 1), Delivery("a", 2)]


def test_copies_that_wait_are_both_work(held: Jobs[Delivery]) -> None:
    """Two copies that came before either was begun have a job each, and each settles its own."""
    held.receive(Delivery("a", 1))
    held.receive(Delivery("a", 2))
    first, second = _start(held), _start(held)
    assert [first.deliveries, second.deliveries] == [[Delivery("a", 1)], [Delivery("a", 2)]]
    held.end(second)
    assert held.receive(Delivery("a", 3))
    assert first.deliveries == [Delivery("a", 1), Delivery("a", 3)]


def test_a_lost_connection_puts_its_acks_under_doubt_once(held: Jobs[Delivery]) -> None:
    """An ack is certain only while its connection lasts: a redelivery is acked unseen, the one after it is work."""
    held.receive(Delivery("a", 1))
    _work_off(held, told=True)
    held.connection_lost()
    assert not held.receive(Delivery("a", 2))
    assert held.idle
    assert held.receive(Delivery("a", 3))
    assert _start(held).deliveries == [Delivery("a", 3)]


def test_doubt_outlasts_further_connections(held: Jobs[Delivery]) -> None:
    """What did not come again over the next connection is still known when that one is lost too."""
    held.receive(Delivery("a"))
    _work_off(held, told=True)
    held.connection_lost()
    held.receive(Delivery("b"))
    _work_off(held, told=True)
    held.connection_lost()
    assert [held.receive(Delivery(name)) for name in "abc"] == [False, False, True]


def test_what_was_never_done_is_under_no_doubt(held: Jobs[Delivery]) -> None:
    """A failed task that comes again after a lost connection is work."""
    held.receive(Delivery("a", 1))
    held.end(_start(held))
    held.connection_lost()
    assert held.receive(Delivery("a", 2))
    assert _start(held).deliveries == [Delivery("a", 2)]


def test_the_memory_of_acks_is_bounded(held: Jobs[Delivery], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one connection the last REMEMBERED acks are doubted, and of several connections together no more."""
    monkeypatch.setattr(jobs, "REMEMBERED", 2)
    for name in "abc":
        held.done(Job([Delivery(name)]), told=True)
    held.connection_lost()
    held.done(Job([Delivery("d")]), told=True)
    held.connection_lost()
    assert [held.receive(Delivery(name)) for name in "abcd"] == [True, True, False, False]


def test_a_lost_connection_drops_what_waits(held: Jobs[Delivery]) -> None:
    """The broker has it again and delivers it again; what is at work goes on, and settles its redelivery."""
    for name in "abcd":
        held.receive(Delivery(name, 1))
    first, second = _start(held), _start(held)
    held.connection_lost()
    assert {first, second} == held.running
    assert held.give_up_waiting() == []
    for name in "abcd":
        assert held.receive(Delivery(name, 2))
    assert first.deliveries == [Delivery("a", 1), Delivery("a", 2)]
    assert held.give_up_waiting() == [Delivery("c", 2), Delivery("d", 2)]

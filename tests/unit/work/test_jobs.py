"""What a worker has in its hands: nothing lost, nothing done twice, no task taken for another."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from rqtool.work import jobs
from rqtool.work.jobs import Job, Jobs, Reception


@dataclass(frozen=True)
class Delivery:
    """A delivery as the bookkeeping sees it; `tag` tells two deliveries of one task apart."""

    key: str | None
    tag: int = 1
    may_repeat: bool = True


Held = Jobs[Delivery, str]
"""What is left to do for a result is a word here: "ack", "move"."""

WORK: Reception[Delivery, str] = Reception()
JOINED: Reception[Delivery, str] = Reception(known=True)


@pytest.fixture
def held() -> Held:
    return Jobs()


def arrive(held: Held, delivery: Delivery, *, ahead: bool = False) -> None:
    """Receive work and let it wait."""
    assert held.receive(delivery) == WORK
    held.wait(delivery, ahead=ahead)


def start(held: Held) -> Job[Delivery]:
    return held.start_next()


def take(held: Held, delivery: Delivery) -> Job[Delivery]:
    """Receive work and start it."""
    arrive(held, delivery)
    job = start(held)
    assert job.delivery == delivery
    return job


def finish(held: Held, job: Job[Delivery], rest: str = "ack", *, told: bool) -> None:
    held.ended(job)
    held.settled(job, rest, told=told)


def come_back(held: Held, delivery: Delivery) -> tuple[Job[Delivery], str]:
    """Receive what has its result already: the job that settles it, and what is left to do."""
    reception = held.receive(delivery)
    assert reception.known
    assert reception.ended is not None
    assert reception.ended[0].delivery == delivery
    return reception.ended


class TestTheOrderOfWork:
    """What waits, what runs, and how many at once."""

    def test_in_order(self, held: Held) -> None:
        """Deliveries start in the order they came."""
        for name in "abc":
            arrive(held, Delivery(name))
        assert [start(held).delivery.key for _ in range(3)] == ["a", "b", "c"]
        assert held.first_waiting is None
        assert held.received == 3

    def test_idle(self, held: Held) -> None:
        """Idle before the first task and after the last, and not in between."""
        assert held.idle
        arrive(held, Delivery("a"))
        assert not held.idle
        job = start(held)
        assert not held.idle
        held.ended(job)
        held.settled(job, "ack", told=True)
        assert held.idle

    def test_a_result_does_not_free_the_hands(self, held: Held) -> None:
        """Until it is settled the next task runs, and the worker is not idle: the end of a queue is not yet there."""
        first = take(held, Delivery("a"))
        arrive(held, Delivery("b"))
        held.ended(first)
        assert ({first}, set()) == (held.settling, held.running)
        assert not held.idle
        second = start(held)
        finish(held, second, told=True)
        assert not held.idle
        held.settled(first, "ack", told=True)
        assert held.idle

    @pytest.mark.parametrize("told", [True, False])
    def test_a_job_can_be_settled_without_a_result(self, held: Held, told: bool) -> None:
        """One that never ran to its end is out of the hands as well."""
        job = take(held, Delivery("a"))
        held.settled(job, "ack", told=told)
        assert held.idle

    def test_what_waited_is_the_brokers_again(self, held: Held) -> None:
        """After a lost connection nothing waits here; it comes anew and is worked off."""
        arrive(held, Delivery("a", 1))
        held.connection_lost()
        assert held.first_waiting is None
        assert held.idle
        take(held, Delivery("a", 2))

    def test_giving_up_returns_what_was_not_begun(self, held: Held) -> None:
        """What waits is handed out for its return; what runs stays."""
        for name in "abc":
            arrive(held, Delivery(name))
        job = start(held)
        assert [delivery.key for delivery in held.give_up_waiting()] == ["b", "c"]
        assert {job} == held.running
        assert held.give_up_waiting() == []
        assert held.first_waiting is None

    def test_those_ahead_start_first(self, held: Held) -> None:
        """In their order, before what came earlier and goes behind; `first_waiting` is none of them."""
        arrive(held, Delivery("a"))
        arrive(held, Delivery("b"), ahead=True)
        arrive(held, Delivery("c"), ahead=True)
        assert (held.ahead, held.first_waiting) == (2, Delivery("a"))
        assert [start(held).delivery.key for _ in range(3)] == ["b", "c", "a"]
        assert (held.ahead, held.first_waiting) == (0, None)

    def test_those_ahead_are_given_up_and_lost_like_all_others(self, held: Held) -> None:
        """They keep the worker from being idle, too."""
        arrive(held, Delivery("a"), ahead=True)
        assert not held.idle
        assert held.give_up_waiting() == [Delivery("a")]
        arrive(held, Delivery("a"), ahead=True)
        held.connection_lost()
        assert held.idle

    def test_the_first_one_can_be_taken_out(self, held: Held) -> None:
        """It is settled without being run, and the others wait on."""
        for name in "abc":
            arrive(held, Delivery(name))
        job = held.take_first()
        assert job.delivery.key == "a"
        assert ({job}, set()) == (held.settling, held.running)
        assert held.first_waiting == Delivery("b")
        held.settled(job, "move", told=True)
        assert not held.idle

    def test_a_job_can_start_without_waiting(self, held: Held) -> None:
        """Before all that wait."""
        arrive(held, Delivery("a"), ahead=True)
        job = held.start(Delivery("b"))
        assert {job} == held.running
        assert held.ahead == 1


class TestWithinAConnection:
    """Where nothing was lost, nothing comes again."""

    @pytest.mark.parametrize("key", ["same", None])
    def test_every_delivery_is_a_task(self, held: Held, key: str | None) -> None:
        """Equal ids of another program's are no reason to drop one of two tasks: waiting, at work, settling, done."""
        arrive(held, Delivery(key, 1))
        arrive(held, Delivery(key, 2))
        one, two = start(held), start(held)
        assert (one.delivery.tag, two.delivery.tag) == (1, 2)
        held.ended(one)
        arrive(held, Delivery(key, 3))
        assert start(held).delivery.tag == 3
        held.settled(one, "ack", told=True)
        arrive(held, Delivery(key, 4))
        assert [delivery.tag for delivery in held.give_up_waiting()] == [4]


class TestInHandWhenTheConnectionWent:
    """The result is still to come, or still to be settled."""

    def test_at_work(self, held: Held) -> None:
        """Its redelivery is settled by the job that runs, and not begun anew; the next one is a task again."""
        job = take(held, Delivery("a", 1))
        held.connection_lost()
        assert held.receive(Delivery("a", 2)) == JOINED
        assert held.first_waiting is None
        assert job.delivery.tag == 2
        take(held, Delivery("a", 3))

    def test_while_its_result_is_being_settled(self, held: Held) -> None:
        """A copy that is on its way settles the redelivery too: the task does not run again."""
        job = take(held, Delivery("a", 1))
        held.ended(job)
        held.connection_lost()
        assert held.receive(Delivery("a", 2)) == JOINED
        assert held.first_waiting is None
        assert job.delivery.tag == 2
        assert {job} == held.settling
        held.settled(job, "ack", told=True)
        assert held.idle

    def test_what_was_taken_out_to_be_settled(self, held: Held) -> None:
        """It is in hand, although it never ran."""
        arrive(held, Delivery("a", 1))
        job = held.take_first()
        held.connection_lost()
        assert held.receive(Delivery("a", 2)) == JOINED
        assert job.delivery.tag == 2

    def test_more_than_once(self, held: Held) -> None:
        """Each redelivery joins the same job, through as many lost connections as it takes."""
        job = take(held, Delivery("a", 1))
        for tag in (2, 3, 4):
            held.connection_lost()
            assert held.receive(Delivery("a", tag)) == JOINED
            assert job.delivery.tag == tag
        held.connection_lost()
        held.connection_lost()
        assert held.receive(Delivery("a", 5)) == JOINED

    def test_settled_before_it_came_again(self, held: Held) -> None:
        """The result that it has by then settles it, and no job that is over is joined."""
        job = take(held, Delivery("a", 1))
        held.connection_lost()
        finish(held, job, "move", told=False)
        again, rest = come_back(held, Delivery("a", 2))
        assert (again is job, rest) == (False, "move")
        assert job.delivery.tag == 1

    def test_another_task_with_the_same_key_that_is_over(self, held: Held) -> None:
        """A new message under that key is settled by itself, and the redelivery of the first one joins the first."""
        job = take(held, Delivery("same", 1))
        held.connection_lost()
        held.dropped(take(held, Delivery("same", 2, may_repeat=False)))
        assert held.receive(Delivery("same", 3)) == JOINED
        assert job.delivery.tag == 3

    def test_another_task_with_the_same_key_that_was_done(self, held: Held) -> None:
        """What runs surely comes again, and joins first: acked as done it would be lost if it fails."""
        finish(held, take(held, Delivery("same", 1)), told=True)
        job = take(held, Delivery("same", 2))
        held.connection_lost()
        assert held.receive(Delivery("same", 3)) == JOINED
        assert job.delivery.tag == 3
        assert come_back(held, Delivery("same", 4))[1] == "ack"

    def test_without_a_key_it_is_work(self, held: Held) -> None:
        """What nothing tells from other tasks is never taken for one of them: twice is better than not at all."""
        running, settling = take(held, Delivery(None, 1)), take(held, Delivery(None, 2))
        held.ended(settling)
        held.connection_lost()
        take(held, Delivery(None, 3))
        assert held.receive(Delivery(None, 4)) == WORK
        assert (running.delivery.tag, settling.delivery.tag) == (1, 2)


class TestResults:
    """An ack that was lost must not cost the work a second time."""

    @pytest.mark.parametrize("told", [True, False])
    def test_no_ack_is_certain_after_its_connection(self, held: Held, told: bool) -> None:
        """Done, and its ack lost or in doubt: the redelivery is settled unseen, once for each connection that went."""
        job = take(held, Delivery("a", 1))
        if told:
            finish(held, job, told=True)
            held.connection_lost()
        else:
            held.connection_lost()
            finish(held, job, told=False)
        job, rest = come_back(held, Delivery("a", 2))
        assert rest == "ack"
        assert {job} == held.settling
        held.settled(job, rest, told=True)
        assert held.idle
        held.connection_lost()
        job, rest = come_back(held, Delivery("a", 3))
        assert rest == "ack"
        held.settled(job, rest, told=True)
        take(held, Delivery("a", 4))

    def test_a_result_outlives_connections_without_a_redelivery(self, held: Held) -> None:
        """The broker can find out late that it never got the ack."""
        finish(held, take(held, Delivery("a", 1)), told=True)
        held.connection_lost()
        finish(held, take(held, Delivery("b", 1)), told=True)
        held.connection_lost()
        held.connection_lost()
        assert come_back(held, Delivery("a", 2))[1] == "ack"
        assert come_back(held, Delivery("b", 2))[1] == "ack"

    def test_a_move_that_could_not_be_done(self, held: Held) -> None:
        """It is handed out with the redelivery, as often as it fails, and is in hand until it is done."""
        finish(held, take(held, Delivery("a", 1)), "move", told=False)
        assert held.idle
        for tag in (2, 3):
            held.connection_lost()
            job, rest = come_back(held, Delivery("a", tag))
            assert rest == "move"
            assert ({job}, set()) == (held.settling, held.running)
            assert not held.idle
            assert held.first_waiting is None
            held.settled(job, rest, told=False)
            assert held.idle

    def test_a_result_that_was_handed_out_is_in_hand(self, held: Held) -> None:
        """If the connection goes again meanwhile, the next redelivery joins the job that settles it."""
        finish(held, take(held, Delivery("a", 1)), "move", told=False)
        held.connection_lost()
        job, _ = come_back(held, Delivery("a", 2))
        held.connection_lost()
        assert held.receive(Delivery("a", 3)) == JOINED
        assert job.delivery.tag == 3
        held.settled(job, "ack", told=True)
        held.connection_lost()
        assert come_back(held, Delivery("a", 4))[1] == "ack"

    def test_what_is_left_to_do_is_what_was_said_last(self, held: Held) -> None:
        """After the move was done at last, only its ack is left."""
        finish(held, take(held, Delivery("a", 1)), "move", told=False)
        held.connection_lost()
        job, _ = come_back(held, Delivery("a", 2))
        held.settled(job, "ack", told=True)
        held.connection_lost()
        assert come_back(held, Delivery("a", 3))[1] == "ack"

    def test_every_task_gets_its_own(self, held: Held) -> None:
        """Results are not mixed up."""
        finish(held, take(held, Delivery("a", 1)), "move", told=False)
        finish(held, take(held, Delivery("b", 1)), "ack", told=True)
        held.connection_lost()
        assert come_back(held, Delivery("b", 2))[1] == "ack"
        assert come_back(held, Delivery("a", 2))[1] == "move"
        take(held, Delivery("c", 2))

    def test_a_new_message_is_never_taken_for_an_old_one(self, held: Held) -> None:
        """Not flagged and not of rqtool's own: it is work, whatever ids were done before or are at work."""
        finish(held, take(held, Delivery("a", 1)), told=True)
        job = take(held, Delivery("b", 1))
        held.connection_lost()
        take(held, Delivery("a", 2, may_repeat=False))
        assert held.receive(Delivery("b", 2, may_repeat=False)) == WORK
        assert job.delivery.tag == 1
        assert come_back(held, Delivery("a", 3))[1] == "ack"
        assert held.receive(Delivery("b", 3)) == JOINED

    @pytest.mark.parametrize("told", [True, False])
    def test_nothing_is_remembered_without_a_key(self, held: Held, told: bool) -> None:
        """The result of one task without id is not that of the next."""
        finish(held, take(held, Delivery(None, 1)), told=told)
        held.connection_lost()
        take(held, Delivery(None, 2))

    @pytest.mark.parametrize("told", [True, False])
    def test_the_memory_is_bounded(self, held: Held, monkeypatch: pytest.MonkeyPatch, told: bool) -> None:
        """The oldest of more than REMEMBERED are forgotten: done twice is better than memory without end."""
        monkeypatch.setattr(jobs, "REMEMBERED", 2)
        for name in "abc":
            finish(held, take(held, Delivery(name)), told=told)
        held.connection_lost()
        assert [held.receive(Delivery(name, 2)).known for name in "abc"] == [False, True, True]

    def test_the_memory_is_bounded_over_connections(self, held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
        """What several connections left is counted together."""
        monkeypatch.setattr(jobs, "REMEMBERED", 2)
        for name in "abc":
            finish(held, take(held, Delivery(name)), told=True)
            held.connection_lost()
        assert [held.receive(Delivery(name, 2)).known for name in "abc"] == [False, True, True]


class TestDropped:
    """The broker has the task again, and it is to be done anew."""

    @pytest.mark.parametrize("ended", [True, False])
    def test_it_is_out_of_the_hands(self, ended: bool) -> None:
        """Its slot is free, and nothing of it is left."""
        held: Held = Jobs()
        job = take(held, Delivery("a", 1))
        if ended:
            held.ended(job)
        held.dropped(job)
        assert held.idle
        take(held, Delivery("a", 2))

    def test_nothing_is_remembered(self, held: Held) -> None:
        """A task that was given back unfinished is begun anew, on this connection and on the next."""
        job = take(held, Delivery("a", 1))
        held.ended(job)
        held.dropped(job)
        held.connection_lost()
        take(held, Delivery("a", 2))

    def test_a_result_that_was_handed_out(self, held: Held) -> None:
        """It is forgotten with its job: done again is better than taken for done."""
        finish(held, take(held, Delivery("a", 1)), "ack", told=True)
        held.connection_lost()
        job, _ = come_back(held, Delivery("a", 2))
        held.dropped(job)
        held.connection_lost()
        take(held, Delivery("a", 3))

    def test_after_the_connection_went(self, held: Held) -> None:
        """The redelivery joins no job that is over."""
        job = take(held, Delivery("a", 1))
        held.connection_lost()
        held.dropped(job)
        take(held, Delivery("a", 2))
        assert job.delivery.tag == 1

"""A worker's jobs: nothing lost, nothing done twice, no task taken for another."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, cast, get_args

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rqtool.amqp import consumer
from rqtool.amqp.topology import dead
from rqtool.amqp.window import Message
from rqtool.run.outcome import CannotRun, Done, Failed, Outcome, Shortage
from rqtool.work import jobs
from rqtool.work.dispatch import Dispatcher
from rqtool.work.job import NEXT, Job, Result, State
from rqtool.work.jobs import Jobs
from rqtool.work.poison import Source, Step

QUEUE = "q"


class Delivery:
    """A delivery without a broker; `tag` tells two deliveries of one task apart."""

    def __init__(self, key: str | None, tag: int = 1, *, queue: str = QUEUE, repeats: bool = True) -> None:
        self.body = b"x"
        self.message_id = key
        self.redelivered = tag > 1
        self.headers: dict[str, Any] = {}
        self.copy_token = ""
        self.queue = queue
        self.tag = tag
        self.live = True
        self.acks = 0
        self._repeats = repeats

    @property
    def key(self) -> Hashable | None:
        return self.message_id

    @property
    def may_repeat(self) -> bool:
        return self._repeats

    def ack(self) -> bool:
        self.acks += self.live
        return self.live

    def requeue(self) -> bool:
        return self.live

    def copied(self, headers: Mapping[str, Any]) -> Message:
        return Message(0, "", self.body, b"")


class Heard:
    """Notes what a dispatcher hears from the pool."""

    def __init__(self) -> None:
        self.events: list[object] = []

    def begun(self, job: Job, *, first: bool) -> None:
        job.state = "running"
        self.events.append("begun" if first else "begun again")

    def ended(self, job: Job, outcome: Outcome, seconds: float) -> None:
        self.events.append(outcome)

    def withdrawn(self, job: Job) -> None:
        self.events.append("withdrawn")


HEARD = Heard()


@pytest.fixture
def held() -> Jobs:
    return Jobs(QUEUE)


def receive(held: Jobs, delivery: Delivery, heard: Heard = HEARD) -> Job:
    return held.receive(cast("consumer.Delivery", delivery), cast("Dispatcher", heard))


def arrive(held: Jobs, delivery: Delivery) -> Job:
    """Receive work and let it wait."""
    job = receive(held, delivery)
    assert job.state == "received"
    held.wait(job)
    return job


def take(held: Jobs, delivery: Delivery) -> Job:
    """Receive work and run it."""
    job = arrive(held, delivery)
    held.hand_over(job)
    held.begin(job)
    return job


def fail(held: Jobs, job: Job) -> Result:
    """End a job with a result that has to be stored."""
    job.result = Result(job.task, Failed("no luck"), 1.0, dead(QUEUE))
    held.move(job)
    return job.result


def tag(job: Job) -> int:
    assert isinstance(job.delivery, Delivery)
    return job.delivery.tag


def names(listed: list[Job]) -> list[str | None]:
    return [job.delivery.message_id for job in listed]


class TestStates:
    """Each state leads to few others; whatever else is asked for is a bug, and is said."""

    def test_the_table_knows_every_state(self) -> None:
        """As what comes before, and, but for the beginnings, as what follows."""
        assert set(NEXT) == set(get_args(State))
        assert {after for follow in NEXT.values() for after in follow} == set(NEXT) - {"received", "ended"}

    @pytest.mark.parametrize("end", ["settled", "returned"])
    def test_nothing_follows_the_end(self, held: Jobs, end: str) -> None:
        """A job is settled once: a second ack would be another task's."""
        job = take(held, Delivery("a"))
        held.settle(job, acked=True) if end == "settled" else held.give_back(job)
        with pytest.raises(RuntimeError, match=f"is {end} can't become settled"):
            held.settle(job, acked=True)
        with pytest.raises(RuntimeError, match=f"is {end} can't become returned"):
            held.give_back(job)
        with pytest.raises(RuntimeError, match=f"is {end} can't become moving"):
            held.move(job)
        assert held.idle

    def test_a_task_is_not_acked_while_it_waits(self, held: Jobs) -> None:
        """An ack comes after the work, or after a confirmed copy."""
        job = arrive(held, Delivery("a"))
        with pytest.raises(RuntimeError):
            held.settle(job, acked=True)

    @pytest.mark.parametrize(
        ("queue", "redelivered", "headers", "source", "step"),
        [
            ("q", False, {}, Source.MAIN, Step.RUN),
            ("q", True, {}, Source.MAIN, Step.TO_RETURNED),
            ("q", True, {"a": "b"}, Source.MAIN, Step.TO_RETURNED),
            ("q.returned", False, {}, Source.RETURNED, Step.RUN),
            ("q.returned", True, {"x-delivery-count": 1}, Source.RETURNED, Step.TO_QUARANTINE),
            ("q.quarantine", False, {}, Source.QUARANTINE, Step.RUN),
            ("q.quarantine", True, {"x-delivery-count": 1, "x-rqtool-starts": 2}, Source.QUARANTINE, Step.TO_DEAD),
        ],
    )
    def test_first_step(
        self, held: Jobs, queue: str, redelivered: bool, headers: dict[str, Any], source: Source, step: Step
    ) -> None:
        """It depends on the queue that the task comes from, and on what its headers count."""
        delivery = Delivery("a", 1 + redelivered, queue=queue)
        delivery.headers = headers
        job = receive(held, delivery)
        assert (job.source, job.step) == (source, step)
        assert job.task.queue == QUEUE
        assert job.task.redelivered == (redelivered or queue != QUEUE)

    def test_the_pool_calls_the_handler(self, held: Jobs) -> None:
        """What ended has begun, even where the pool did not report that; a task that could not start has not."""
        for outcome in (Done(), CannotRun("x"), Shortage("x")):
            heard = Heard()
            job = receive(held, Delivery(None), heard)
            held.hand_over(job)
            job.ended(outcome)
            assert heard.events == ([outcome] if isinstance(outcome, Shortage) else ["begun", outcome])

    def test_the_pool_is_not_heard_after_the_end(self, held: Jobs) -> None:
        """What was cut off has gone back: its end, when the pool finds it killed, is no verdict."""
        heard = Heard()
        job = receive(held, Delivery("a"), heard)
        held.hand_over(job)
        held.give_back(job)
        job.begun()
        job.ended(Failed("killed"))
        job.returned()
        assert heard.events == []


class TestOrder:
    """What is next, and how many there are."""

    def test_in_order(self, held: Jobs) -> None:
        """Tasks wait in the order they came; those of NAME.returned go ahead."""
        for name in "ab":
            arrive(held, Delivery(name))
        for name in "cd":
            arrive(held, Delivery(name, queue="q.returned"))
        assert names(held.waiting) == ["c", "d", "a", "b"]
        assert (names([*held.ahead]), names([*held.behind])) == (["c", "d"], ["a", "b"])
        assert held.received == 4

    def test_what_the_pool_returns_goes_first(self, held: Jobs) -> None:
        """In the order in which it was handed over, since the pool returns the last one first."""
        taken = [take(held, Delivery(name)) for name in "abc"]
        arrive(held, Delivery("d", queue="q.returned"))
        for job in reversed(taken[1:]):
            held.withdraw(job)
        assert names([*held.withdrawn]) == ["b", "c"]
        assert (held.in_pool, held.at_work) == (1, 3)
        assert set(held.working) == set(taken)
        held.hand_over(held.withdrawn[0])
        assert (held.in_pool, held.at_work) == (2, 3)

    def test_idle(self, held: Jobs) -> None:
        """Idle before the first task and after the last, and not in between: not while a copy is on its way, either."""
        assert held.idle
        job = take(held, Delivery("a"))
        fail(held, job)
        assert not held.idle
        assert (held.at_work, held.leaving, held.has_moved_some) == (0, 1, True)
        held.settle(job, acked=True)
        assert held.idle

    def test_enough_taken_on(self) -> None:
        """A withdrawn task counts until it goes back; what was done counts for ever."""
        held = Jobs(QUEUE, most=2)
        first, second = take(held, Delivery("a")), take(held, Delivery("b"))
        held.settle(first, acked=True)
        held.withdraw(second)
        assert held.taken_on_enough
        held.hand_over(second)
        assert held.taken_on_enough
        held.withdraw(second)
        held.give_back(second)
        assert not held.taken_on_enough

    def test_what_has_not_begun_is_forgotten_with_its_connection(self, held: Jobs) -> None:
        """The broker has it again, and delivers it again as work."""
        waiting, withdrawn = arrive(held, Delivery("a")), take(held, Delivery("b"))
        arrive(held, Delivery("c", queue="q.returned"))
        held.withdraw(withdrawn)
        held.connection_lost()
        assert held.idle
        assert (waiting.state, withdrawn.state, held.waiting) == ("returned", "returned", [])
        take(held, Delivery("a", 2))
        take(held, Delivery("b", 2))


class TestWithinAConnection:
    """Where nothing was lost, nothing comes again."""

    @pytest.mark.parametrize("key", ["same", None])
    def test_every_delivery_is_a_task(self, held: Jobs, key: str | None) -> None:
        """Equal ids of another program's are no reason to drop one of two tasks: waiting, at work, settling, done."""
        one, two = take(held, Delivery(key, 1)), take(held, Delivery(key, 2))
        fail(held, one)
        assert len({one, two, arrive(held, Delivery(key, 3))}) == 3
        held.settle(one, acked=True)
        assert tag(arrive(held, Delivery(key, 4))) == 4


class TestInHandWhenTheConnectionWasLost:
    """The redelivery of a task in hand belongs to the job that there is."""

    @pytest.mark.parametrize("state", ["running", "settling", "moving"])
    def test_it_joins_its_job(self, held: Jobs, state: str) -> None:
        """And is not begun anew, through as many lost connections as it takes; it is settled with the last delivery."""
        job = arrive(held, Delivery("a", 1)) if state == "moving" else take(held, Delivery("a", 1))
        if state == "settling":
            fail(held, job)
        elif state == "moving":
            held.move(job)
        for again in (2, 3, 4):
            held.connection_lost()
            assert receive(held, Delivery("a", again)) is job
            assert (job.state, tag(job), held.waiting) == (state, again, [])
        held.connection_lost()
        held.connection_lost()
        assert receive(held, Delivery("a", 5)) is job
        take(held, Delivery("a", 6))

    def test_settled_before_it_comes_again(self, held: Jobs) -> None:
        """The result that it has by then settles it, and no job that is over is joined."""
        job = take(held, Delivery("a", 1))
        held.connection_lost()
        result = fail(held, job)
        held.settle(job, acked=False)
        again = receive(held, Delivery("a", 2))
        assert (again is job, again.state, again.result) == (False, "ended", result)

    def test_given_back_before_it_comes_again(self, held: Jobs) -> None:
        """It is to begin anew."""
        job = take(held, Delivery("a", 1))
        held.connection_lost()
        held.give_back(job)
        assert take(held, Delivery("a", 2)) is not job

    @pytest.mark.parametrize("done", [True, False])
    def test_another_task_with_the_same_key(self, held: Jobs, done: bool) -> None:
        """The redelivery joins the job that surely comes again, whatever became of the other task."""
        job = take(held, Delivery("same", 1))
        held.connection_lost()
        other = take(held, Delivery("same", 2, repeats=False))
        held.settle(other, acked=True) if done else held.give_back(other)
        assert receive(held, Delivery("same", 3)) is job

    def test_without_a_key_it_is_work(self, held: Jobs) -> None:
        """What nothing tells from other tasks is never taken for one of them: twice is better than not at all."""
        running, settling = take(held, Delivery(None, 1)), take(held, Delivery(None, 2))
        fail(held, settling)
        held.connection_lost()
        assert len({running, settling, take(held, Delivery(None, 3)), take(held, Delivery(None, 4))}) == 4


class TestResults:
    """An ack that was lost must not cost the work a second time."""

    @pytest.mark.parametrize("acked", [True, False])
    def test_no_ack_is_certain_after_its_connection(self, held: Jobs, acked: bool) -> None:
        """The redelivery has ended already, once for each lost connection; after that the task is work."""
        job = take(held, Delivery("a", 1))
        if not acked:
            held.connection_lost()
        held.settle(job, acked=acked)
        for again in (2, 3):
            if acked or again > 2:
                held.connection_lost()
            job = receive(held, Delivery("a", again))
            assert (job.state, job.result) == ("ended", None)
            held.settle(job, acked=True)
            assert held.idle
        take(held, Delivery("a", 4))

    def test_a_result_outlives_connections(self, held: Jobs) -> None:
        """The broker can find out late that it never got the ack; and results are not mixed up."""
        for name in "ab":
            job = take(held, Delivery(name, 1))
            if name == "b":
                result = fail(held, job)
            held.settle(job, acked=name == "a")
            held.connection_lost()
        held.connection_lost()
        assert receive(held, Delivery("b", 2)).result == result
        assert receive(held, Delivery("a", 2)).state == "ended"
        take(held, Delivery("c", 2))

    def test_a_copy_that_could_not_be_stored(self, held: Jobs) -> None:
        """It is left to do at each redelivery until it is stored; then only the ack is."""
        job = take(held, Delivery("a", 1))
        result = fail(held, job)
        held.settle(job, acked=False)
        for again in (2, 3):
            held.connection_lost()
            job = receive(held, Delivery("a", again))
            assert job.result == result
            held.move(job)
            assert job.state == "settling"
            if again == 3:
                job.result = None
            held.settle(job, acked=again == 3)
        held.connection_lost()
        assert receive(held, Delivery("a", 4)).result is None

    def test_a_new_message_is_never_taken_for_an_old_one(self, held: Jobs) -> None:
        """Not flagged and not of rqtool's own: it is work, whatever ids were done before or are at work."""
        held.settle(take(held, Delivery("a", 1)), acked=True)
        job = take(held, Delivery("b", 1))
        held.connection_lost()
        take(held, Delivery("a", 2, repeats=False))
        take(held, Delivery("b", 2, repeats=False))
        assert receive(held, Delivery("a", 3)).state == "ended"
        assert receive(held, Delivery("b", 3)) is job

    def test_nothing_is_remembered_without_a_key(self, held: Jobs) -> None:
        """The result of one task without id is not that of the next."""
        held.settle(take(held, Delivery(None, 1)), acked=False)
        held.connection_lost()
        take(held, Delivery(None, 2))

    @pytest.mark.parametrize("loss", ["each", "last"])
    def test_the_memory_is_bounded(self, held: Jobs, monkeypatch: pytest.MonkeyPatch, loss: str) -> None:
        """The oldest of more than REMEMBERED are forgotten: done twice is better than memory without end."""
        monkeypatch.setattr(jobs, "REMEMBERED", 2)
        for name in "abc":
            held.settle(take(held, Delivery(name)), acked=True)
            if loss == "each":
                held.connection_lost()
        held.connection_lost()
        again = [receive(held, Delivery(name, 2)).state for name in "abc"]
        assert again == ["received", "ended", "ended"]


class Ledger(RuleBasedStateMachine):
    """A broker with a few messages, and a worker that loses its connection at any moment.

    The broker has a message until it gets its ack on the connection of the delivery. `worked` counts runs to the end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.held = Jobs(QUEUE)
        self.ready = {f"{n}": 1 for n in range(6)}  # and the tag of the next delivery
        self.unacked: dict[str, Delivery] = {}
        self.worked = dict.fromkeys(self.ready, 0)

    @rule(data=st.data())
    @precondition(lambda self: self.ready)
    def deliver(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.ready)))
        delivery = Delivery(name, self.ready.pop(name))
        self.unacked[name] = delivery
        job = receive(self.held, delivery)
        if job.state == "received":
            self.held.wait(job)
        elif job.state == "ended":
            self._settle(job)

    @rule()
    @precondition(lambda self: self.held.waiting or self.held.withdrawn)
    def begin(self) -> None:
        job = self.held.withdrawn[0] if self.held.withdrawn else self.held.waiting[0]
        self.held.hand_over(job)
        self.held.begin(job)

    @rule(data=st.data(), good=st.booleans())
    @precondition(lambda self: self.held.in_pool)
    def end(self, data: st.DataObject, good: bool) -> None:
        job = self._draw(data, "running")
        self.worked[job.task.message_id] += 1
        if good:
            self._settle(job)
        else:
            fail(self.held, job)

    @rule(data=st.data(), stored=st.booleans())
    @precondition(lambda self: self.held.leaving)
    def leave(self, data: st.DataObject, stored: bool) -> None:
        job = self._draw(data, "settling")
        if stored:
            job.result = None
            self._settle(job)
        elif not job.delivery.live:
            self.held.settle(job, acked=False)

    @rule(data=st.data())
    @precondition(lambda self: self.held.in_pool)
    def withdraw(self, data: st.DataObject) -> None:
        self.held.withdraw(self._draw(data, "running"))

    @rule(data=st.data())
    @precondition(lambda self: self.held.waiting or self.held.in_pool)
    def give_back(self, data: st.DataObject) -> None:
        job = self._draw(data, "waiting", "running", "withdrawn")
        self.held.give_back(job)
        if job.delivery.live:
            name = job.task.message_id
            self.ready[name] = self.unacked.pop(name).tag + 1

    @rule()
    def lose_the_connection(self) -> None:
        self.held.connection_lost()
        for name, delivery in self.unacked.items():
            delivery.live = False
            self.ready[name] = delivery.tag + 1
        self.unacked.clear()

    @invariant()
    def no_message_is_worked_off_twice(self) -> None:
        assert max(self.worked.values()) <= 1

    @invariant()
    def every_message_is_somewhere(self) -> None:
        """Not worked off: then the broker has it, ready or unacknowledged; never acked."""
        for name, times in self.worked.items():
            assert times or name in self.ready or name in self.unacked

    @invariant()
    def what_is_unacked_is_in_hand(self) -> None:
        """A delivery that the worker has forgotten would be held until the connection goes."""
        in_hand = {id(job.delivery) for job in self.held.in_hand}
        assert {id(delivery) for delivery in self.unacked.values()} <= in_hand

    @invariant()
    def the_counts_are_true(self) -> None:
        states = [job.state for job in self.held.in_hand]
        assert {state: self.held.count[state] for state in set(states)} == {s: states.count(s) for s in set(states)}

    def _draw(self, data: st.DataObject, *states: str) -> Job:
        chosen = [job for job in self.held.in_hand if job.state in states]
        return data.draw(st.sampled_from(sorted(chosen, key=lambda job: job.task.message_id)))

    def _settle(self, job: Job) -> None:
        acked = job.delivery.ack()
        self.held.settle(job, acked=acked)
        if acked:
            del self.unacked[job.task.message_id]


TestLedger = Ledger.TestCase

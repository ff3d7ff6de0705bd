"""A worker's jobs beside a model of the broker: an account of every message, whatever happens in whatever order."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rqtool.work.job import Job
from rqtool.work.jobs import Jobs
from tests.unit.work.in_hand import QUEUE, Delivery, fail, receive


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

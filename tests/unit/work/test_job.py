"""A job's states, and which job is next."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, get_args

import pytest

from rqtool.run.outcome import CannotRun, Done, Failed, Shortage
from rqtool.topology import Kind
from rqtool.work import job as module
from rqtool.work.job import NEXT, State
from rqtool.work.jobs import Jobs
from rqtool.work.poison import Step
from tests.unit.work.in_hand import QUEUE, Delivery, Heard, arrive, fail, names, receive, take


@pytest.fixture
def held() -> Jobs:
    return Jobs(QUEUE)


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
            ("q", False, {}, None, Step.RUN),
            ("q", True, {}, None, Step.TO_RETURNED),
            ("q", True, {"a": "b"}, None, Step.TO_RETURNED),
            ("q.returned", False, {}, "returned", Step.RUN),
            ("q.returned", True, {"x-delivery-count": 1}, "returned", Step.TO_QUARANTINE),
            ("q.quarantine", False, {}, "quarantine", Step.RUN),
            ("q.quarantine", True, {"x-delivery-count": 1, "x-rqtool-starts": 2}, "quarantine", Step.TO_DEAD),
        ],
    )
    def test_first_step(
        self, held: Jobs, queue: str, redelivered: bool, headers: dict[str, Any], source: Kind | None, step: Step
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
            job.ended(outcome, 0)
            assert heard.events == ([outcome] if isinstance(outcome, Shortage) else ["begun", outcome])

    @pytest.mark.parametrize("has_begun", [True, False])
    def test_a_shortage_after_the_beginning(self, held: Jobs, has_begun: bool) -> None:
        """The task goes back as one that may have been done; one that could not begin goes back as it was."""
        job = receive(held, Delivery("a"), Heard())
        held.hand_over(job)
        if has_begun:
            job.begun()
        job.ended(Shortage("no process"), 0)
        assert job.task.redelivered is has_begun

    def test_the_seconds_are_those_of_the_last_run(self, held: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
        """Not from the beginning of one that was cut short, for another task's sake."""
        times = iter([10.0, 20.0, 23.0])
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(times)))
        heard = Heard()
        job = receive(held, Delivery("a"), heard)
        held.hand_over(job)
        job.begun()
        job.begun()
        job.ended(Done(), 5)
        assert (heard.seconds, job.written) == (3.0, 5)

    def test_the_pool_is_not_heard_after_the_end(self, held: Jobs) -> None:
        """What was cut off has gone back: its end, when the pool finds it killed, is no verdict."""
        heard = Heard()
        job = receive(held, Delivery("a"), heard)
        held.hand_over(job)
        held.give_back(job)
        job.begun()
        job.ended(Failed("killed"), 0)
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
        """A withdrawn task counts until it goes back; what was done stays counted."""
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

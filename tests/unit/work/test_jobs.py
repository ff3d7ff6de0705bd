"""Redeliveries and lost acks: nothing lost, nothing done twice, no task taken for another."""

from __future__ import annotations

import pytest

from rqtool.work import jobs
from rqtool.work.jobs import Jobs
from rqtool.work.poison import Step
from tests.unit.work.in_hand import QUEUE, Delivery, arrive, fail, receive, tag, take


@pytest.fixture
def held() -> Jobs:
    return Jobs(QUEUE)


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


class TestReturnsThatAreExcused:
    """By crashes of the broker or the network."""

    @pytest.mark.parametrize(
        ("kind", "made", "interruptions", "returns", "step"),
        [
            ("returned", 10, [], 1, Step.TO_QUARANTINE),
            ("returned", 10, [20], 1, Step.RUN),
            ("returned", 10, [20], 2, Step.TO_QUARANTINE),
            ("returned", 10, [20, 30], 2, Step.RUN),
            ("returned", 20, [20], 1, Step.TO_QUARANTINE),
            ("quarantine", 10, [20], 2, Step.TO_QUARANTINE),
            ("quarantine", 10, [20, 30], 1, Step.RUN),
        ],
    )
    def test_one_for_each(
        self, held: Jobs, kind: str, made: int, interruptions: list[int], returns: int, step: Step
    ) -> None:
        """Of the returns of a copy that was made before; what came back otherwise still counts."""
        held.interruptions.extend(interruptions)
        delivery = Delivery("a", queue=f"{QUEUE}.{kind}")
        delivery.headers = {"x-delivery-count": returns}
        delivery.copy_token = f"c0ffee-{made * 1000:x}"
        assert receive(held, delivery).step is step


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

    def test_a_result_is_that_of_one_task(self, held: Jobs) -> None:
        """Where two deliveries of a connection have its key, the second one is work: perhaps it is the other's."""
        held.settle(take(held, Delivery("a", 1)), acked=True)
        held.connection_lost()
        assert [receive(held, Delivery("a", again)).state for again in (2, 3)] == ["ended", "received"]

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

    @pytest.mark.parametrize(
        ("done", "begun", "waits"), [(1, 1, 0), (1, 0, 1), (2, 0, 0), (3, 0, 0), (1, 1, 3), (0, 2, 0), (2, 2, 2)]
    )
    def test_a_key_of_several_tasks_says_nothing(self, held: Jobs, done: int, begun: int, waits: int) -> None:
        """Where two deliveries of one connection had it, no task is taken for one that was done; what is at work may be
        one of those that come.
        """
        tags = iter(range(100, 200))
        jobs_done = [take(held, Delivery("same", next(tags), repeats=False)) for _ in range(done)]
        for job in jobs_done:
            held.settle(job, acked=True)
        running = [take(held, Delivery("same", next(tags), repeats=False)) for _ in range(begun)]
        for _ in range(waits):
            arrive(held, Delivery("same", next(tags), repeats=False))
        for _ in range(3):
            held.connection_lost()
            for _ in range(3):
                job = receive(held, Delivery("same", next(tags)))
                assert job.state == "received" or job in running
                if job.state == "received":
                    held.wait(job)

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

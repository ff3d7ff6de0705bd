"""The order of a settlement: a confirmed copy, then the ack, then the report; and what happens where one is missing."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from rqtool.amqp.errors import Lost
from rqtool.amqp.republisher import NotTaken, Republisher
from rqtool.amqp.window import Message
from rqtool.errors import AccessRefused
from rqtool.run.outcome import CannotRun, Done, Failed, Outcome
from rqtool.topology import Destination
from rqtool.work.job import Job, Result
from rqtool.work.jobs import Jobs
from rqtool.work.lifecycle import Lifecycle
from rqtool.work.options import WorkOptions
from rqtool.work.report.events import Events
from rqtool.work.report.output import WorkerOutput
from rqtool.work.retry import Delay
from rqtool.work.settle import Settler
from tests.unit.work.in_hand import QUEUE, Delivery, arrive, receive, take

FAILED = Failed("no luck")


class Broker:
    """What a republisher does with copies: `answers` come one for each attempt to store one; None confirms it."""

    def __init__(self, log: list[str], *answers: Exception | None) -> None:
        self.log = log
        self.answers = [*answers]
        self.blocked = False

    async def deliver(self, place: Destination, message: Message) -> None:
        self.log.append(f"sent to {place.name}")
        await asyncio.sleep(0)
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer
        self.log.append("confirmed")

    async def close(self) -> None:
        self.log.append("closed")


class Logged(Delivery):
    """A delivery that logs how it is settled."""

    def __init__(self, key: str | None, tag: int, log: list[str], *, queue: str = QUEUE) -> None:
        super().__init__(key, tag, queue=queue)
        self.log = log

    def ack(self) -> bool:
        self.log.append("acked" if self.live else "ack lost")
        return super().ack()

    def requeue(self) -> None:
        self.log.append("requeued")


class LoggedEvents(Events):
    def __init__(self, log: list[str]) -> None:
        super().__init__(WorkerOutput(quiet=True), quiet=True)
        self.log = log
        self.complain = lambda text: self.log.append(text)

    def done(self, task: object, outcome: Outcome, seconds: float) -> None:
        self.log.append("done")

    def retry(self, end: Result) -> None:
        self.log.append(f"retry {end.delay}")

    def dead(self, end: Result) -> None:
        self.log.append(f"dead in {end.place.name}")


class Settling:
    """A settler with one task at work."""

    def __init__(self, *answers: Exception | None, queue: str = QUEUE) -> None:
        self.log: list[str] = []
        self.broker = Broker(self.log, *answers)
        self.jobs = Jobs(QUEUE)
        self.lifecycle = Lifecycle(None)
        options = WorkOptions(QUEUE, (Delay("1s", 1.0),))
        republisher = cast("Republisher", self.broker)
        self.settler = Settler(options, self.jobs, republisher, LoggedEvents(self.log), self.lifecycle)
        self.delivery = Logged("a", 1, self.log, queue=queue)
        self.job = take(self.jobs, self.delivery)

    def conclude(self, outcome: Outcome, job: Job | None = None) -> list[str]:
        """End the task so. Returns what happened until nothing more did."""

        async def run() -> None:
            self.settler.conclude(job or self.job, outcome, 1.0)
            await self.settler.finish(5.0)

        asyncio.run(run())
        return self.log[:-1]


def test_the_ack_comes_after_the_confirm() -> None:
    """And the user hears of it last."""
    settling = Settling()
    assert settling.conclude(FAILED) == ["sent to q.retry.1s", "confirmed", "acked", "retry 1s"]
    assert settling.jobs.idle


def test_a_task_that_is_done_is_acked_at_once() -> None:
    """Before anything else happens on the event loop."""
    settling = Settling()
    settling.settler.conclude(settling.job, Done(), 1.0)
    assert settling.log == ["acked", "done"]
    assert settling.jobs.idle


def test_the_last_attempt() -> None:
    """After the last of its attempts a task is dead, and counted."""
    settling = Settling()
    settling.delivery.headers["x-rqtool-attempts"] = 1
    job = take(settling.jobs, settling.delivery)
    assert settling.conclude(FAILED, job) == ["sent to q.dead", "confirmed", "acked", "dead in q.dead"]
    assert settling.settler.tally.dead == 1


@pytest.mark.parametrize("problem", [Lost(0, "gone"), NotTaken("no queue took it")])
def test_without_a_confirm_it_is_stored_again(problem: Exception) -> None:
    """Twice is better than not at all; the user hears of it when a second try fails, and no task begins meanwhile."""
    settling = Settling(problem, problem)
    happened = settling.conclude(FAILED)
    assert [line for line in happened if "can't be stored" not in line] == [
        *["sent to q.retry.1s"] * 3, "confirmed", "acked", "retry 1s"
    ]  # fmt: skip
    assert sum("a task can't be stored in 'q.retry.1s'" in line for line in happened) == 1
    assert not settling.settler.is_stuck


def test_where_no_further_try_can_succeed() -> None:
    """The task goes back, and the worker ends with the error."""
    refused = AccessRefused("no", "ask")
    settling = Settling(Lost(0, "gone"), refused)
    assert settling.conclude(FAILED) == ["sent to q.retry.1s", "sent to q.retry.1s", "requeued"]
    assert settling.lifecycle.error is refused
    assert settling.jobs.idle


def test_what_can_not_run_ends_the_worker() -> None:
    """It is no verdict on the task."""
    settling = Settling()
    settling.conclude(CannotRun("no such file"))
    assert settling.log == ["requeued", "closed"]
    assert "no such file" in str(settling.lifecycle.error)


def test_a_result_waits_for_its_redelivery() -> None:
    """The connection was lost before the copy was stored: nothing is stored or acked until the task comes again."""
    settling = Settling()
    settling.delivery.live = False
    settling.jobs.connection_lost()
    assert settling.conclude(FAILED) == []
    assert settling.jobs.idle
    again = receive(settling.jobs, Logged("a", 2, settling.log))
    assert again.state == "ended"
    settling.log.clear()

    async def settle() -> None:
        settling.settler.settle(again)
        await settling.settler.finish(5.0)

    asyncio.run(settle())
    assert settling.log[:-1] == ["sent to q.retry.1s", "confirmed", "acked", "retry 1s"]


def test_no_copy_begins_before_its_original_is_acked() -> None:
    """It may kill the worker, and the original would come back, too."""
    settling = Settling()
    original = arrive(settling.jobs, Logged("b", 2, settling.log))
    copied = Logged("b", 1, settling.log, queue="q.returned")
    copy = receive(settling.jobs, copied)

    async def move() -> None:
        settling.settler.move_to_returned(original)
        assert settling.jobs.count["moving"] == 1
        assert settling.settler.is_unacked_copy(copy)
        await settling.settler.finish(5.0)

    asyncio.run(move())
    assert settling.log[:-1] == ["sent to q.returned", "confirmed", "acked"]
    assert not settling.settler.is_unacked_copy(copy)


@pytest.mark.parametrize(
    ("queue", "happens"),
    [
        ("q", ["requeued"]),
        ("q.returned", ["sent to q.returned", "confirmed", "acked"]),
        ("q.quarantine", ["sent to q.quarantine", "confirmed", "acked"]),
    ],
)
def test_what_goes_back_is_not_blamed(queue: str, happens: list[str]) -> None:
    """Where the broker counts what comes back, a fresh copy goes back instead; and another task may be wanted."""
    settling = Settling(queue=queue)

    async def give_back() -> None:
        settling.settler.return_to_queue(settling.job)
        await settling.settler.finish(5.0)

    asyncio.run(give_back())
    assert settling.log[:-1] == happens
    assert settling.jobs.idle
    assert settling.lifecycle.changes


def test_in_an_alarm_only_a_task_that_failed_keeps_others_from_beginning() -> None:
    """One that merely moves says nothing about the next one: workers go on, and so empty the queue."""

    async def run() -> None:
        settling = Settling()
        settling.broker.blocked = True
        settling.settler.move_to_returned(receive(settling.jobs, Logged("b", 2, settling.log)))
        assert not settling.settler.is_stuck
        settling.settler.conclude(settling.job, FAILED, 1.0)
        assert settling.settler.is_stuck
        await settling.settler.finish(5.0)

    asyncio.run(run())

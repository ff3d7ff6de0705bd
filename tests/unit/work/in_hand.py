"""Stand-ins for what surrounds a worker's jobs, and short ways to bring a job into a state."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, cast

from rqtool.amqp import consumer
from rqtool.amqp.window import Message
from rqtool.run.outcome import Failed, Outcome
from rqtool.topology import dead
from rqtool.work.dispatch import Dispatcher
from rqtool.work.job import Job, Result
from rqtool.work.jobs import Jobs

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

    def requeue(self) -> None:
        pass

    def copied(self, headers: Mapping[str, Any]) -> Message:
        return Message(0, "", self.body, b"")


class Heard:
    """Notes what a dispatcher hears from the pool."""

    def __init__(self) -> None:
        self.events: list[object] = []
        self.seconds = -1.0

    def begun(self, job: Job, *, first: bool) -> None:
        job.state = "running"
        self.events.append("begun" if first else "begun again")

    def ended(self, job: Job, outcome: Outcome, seconds: float) -> None:
        self.events.append(outcome)
        self.seconds = seconds

    def withdrawn(self, job: Job) -> None:
        self.events.append("withdrawn")


HEARD = Heard()


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

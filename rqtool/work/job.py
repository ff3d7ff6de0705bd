"""A job: one task in a worker's hands, from its delivery until it is settled. Pure.

A task that succeeds is received → waiting → handed over (to the pool) → running → settled. One that failed is
"settling" while its copy is stored elsewhere; one that goes to another queue without having run is "moving". A task
that the pool returns unbegun is "withdrawn"; one that the broker gets back is "returned". A job whose result is known
from an earlier delivery is "ended" from the start.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

from rqtool.amqp import headers
from rqtool.run.outcome import Outcome, Shortage
from rqtool.run.task import Task
from rqtool.topology import Destination, Kind, kind_beside
from rqtool.work.poison import Step, next_step

if TYPE_CHECKING:
    from rqtool.amqp.consumer import Delivery

State = Literal[
    "received", "ended", "waiting", "handed over", "running", "withdrawn", "moving", "settling", "settled", "returned"
]
_END: tuple[State, ...] = ("settled", "returned")
_LEAVE: tuple[State, ...] = ("moving", "settling", *_END)
NEXT: dict[State, tuple[State, ...]] = {
    "received": ("waiting", "handed over", "moving", "settling", "returned"),
    "ended": ("settling", "settled"),
    "waiting": ("handed over", "moving", "returned"),
    "handed over": ("running", "withdrawn", *_LEAVE),
    "running": ("withdrawn", *_LEAVE),
    "withdrawn": ("handed over", "moving", "returned"),
    "moving": _END,
    "settling": _END,
    "settled": (),
    "returned": (),
}
"""The states that may follow each state."""
_AT_WORK = ("handed over", "running", "withdrawn")


@dataclass(frozen=True, slots=True)
class Result:
    """How a task failed, after running for `seconds`, and where its copy must be stored before the ack.

    `delay` names the pause before the next attempt; empty: the task is dead.
    """

    task: Task
    outcome: Outcome
    seconds: float
    place: Destination
    delay: str = ""


class Owner(Protocol):
    """Gets the pool's events about its jobs."""

    def begun(self, job: Job, *, first: bool) -> None: ...

    def ended(self, job: Job, outcome: Outcome, seconds: float) -> None: ...

    def withdrawn(self, job: Job) -> None: ...


class Job:
    """A task of the queue `home`, and the delivery to settle: the last one, if the task was redelivered.

    It is the rqtool.run.lane.Run that the pool calls, until the job leaves the pool.
    """

    __slots__ = ("_owner", "delivery", "excused", "home", "number", "result", "started", "state", "task", "written")

    def __init__(self, delivery: Delivery, home: str, owner: Owner, excused: int = 0) -> None:
        self.delivery = delivery
        self.home = home
        self.excused = excused
        """How many returns of this copy are excused."""
        self.state: State = "received"
        self.number = self.written = 0
        """Its number among the jobs that this worker began, from 1; and the bytes of its stdout, if known."""
        self.result: Result | None = None
        """What must happen before the ack."""
        own = headers.of_the_sender(delivery.headers) if delivery.headers else {}
        self.task = Task(
            body=delivery.body,
            queue=home,
            message_id=delivery.message_id or "",
            attempt=headers.count(delivery.headers, headers.ATTEMPTS) + 1,
            redelivered=delivery.redelivered or delivery.queue != home,
            headers={name: headers.text(own, name) for name in own} if own else {},
        )
        self._owner = owner
        self.started: float | None = None
        """When it began, by time.monotonic()."""

    @property
    def source(self) -> Kind | None:
        """The purpose of the queue that it came from; None: its home."""
        queue = self.delivery.queue
        return None if queue == self.home else kind_beside(self.home, queue)

    @property
    def step(self) -> Step:
        """The first thing to do with it."""
        delivery = self.delivery
        if delivery.queue == self.home and not delivery.headers:  # nearly all of them
            return Step.TO_RETURNED if delivery.redelivered else Step.RUN
        returns = max(0, self.returns - self.excused)
        return next_step(self.source, redelivered=delivery.redelivered, returns=returns, starts=self.starts)

    @property
    def returns(self) -> int:
        """How often this copy came back, if the broker counts that."""
        return headers.count(self.delivery.headers, "x-delivery-count")

    @property
    def starts(self) -> int:
        """How often it was begun in quarantine, as its own header says."""
        return headers.count(self.delivery.headers, headers.STARTS)

    @property
    def is_at_work(self) -> bool:
        """Whether the worker has taken it on, and it has no result yet."""
        return self.state in _AT_WORK

    @property
    def is_in_pool(self) -> bool:
        return self.state in ("handed over", "running")

    # Called by the pool.

    def begun(self) -> None:
        first = self.started is None
        self.started = time.monotonic()
        if self.state == "handed over":
            self._owner.begun(self, first=first)

    def ended(self, outcome: Outcome, written: int) -> None:
        if self.state not in _AT_WORK:
            return  # it was cut off
        if self.started is None and not isinstance(outcome, Shortage):
            self.begun()
        elif isinstance(outcome, Shortage) and self.started is not None:
            self.task = replace(self.task, redelivered=True)  # it has begun once
        self.written = written
        self._owner.ended(self, outcome, time.monotonic() - (self.started or 0.0))

    def returned(self) -> None:
        if self.is_at_work:
            self._owner.withdrawn(self)

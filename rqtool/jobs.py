"""What a worker has in its hands: tasks that wait here, tasks at work, results whose ack was lost. Pure.

A task that comes again while it is at work here, or after it was done here, is settled by that one result: an ack that
was lost with its connection must not cost the work a second time.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

REMEMBERED = 10_000
"""How many done tasks are remembered whose ack may be lost."""


class Identified(Protocol):
    """What is asked of a delivery here."""

    @property
    def message_id(self) -> str | None: ...


D = TypeVar("D", bound=Identified)


@dataclass(slots=True, eq=False)
class Job(Generic[D]):
    """A task at work, and every delivery of it that its result will settle."""

    deliveries: list[D]

    @property
    def message_id(self) -> str | None:
        return self.deliveries[0].message_id


class Jobs(Generic[D]):
    """At most `slots` jobs at work at once."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._waiting: deque[D] = deque()
        self._by_id: dict[str, Job[D]] = {}
        self._acked: OrderedDict[str, None] = OrderedDict()
        self._uncertain: OrderedDict[str, None] = OrderedDict()
        self.running: set[Job[D]] = set()
        self.received = 0

    @property
    def idle(self) -> bool:
        return not self.running and not self._waiting

    def receive(self, delivery: D) -> bool:
        """Take a delivery in. False: its task was done here already, and it is to be acked."""
        self.received += 1
        message_id = delivery.message_id
        if message_id is not None:
            if message_id in self._uncertain:
                del self._uncertain[message_id]
                _remember(self._acked, message_id)
                return False
            job = self._by_id.get(message_id)
            if job is not None:
                job.deliveries.append(delivery)
                return True
        self._waiting.append(delivery)
        return True

    def start_next(self) -> Job[D] | None:
        """The next job, if one waits and a slot is free."""
        if not self._waiting or len(self.running) >= self._slots:
            return None
        job = Job([self._waiting.popleft()])
        self.running.add(job)
        if job.message_id is not None:
            self._by_id.setdefault(job.message_id, job)
        return job

    def end(self, job: Job[D]) -> None:
        """The job is over, with whatever result."""
        self.running.discard(job)
        if job.message_id is not None and self._by_id.get(job.message_id) is job:
            del self._by_id[job.message_id]
            for other in self.running:
                if other.message_id == job.message_id:
                    self._by_id[job.message_id] = other

    def done(self, job: Job[D], *, told: bool) -> None:
        """The work is done, and the broker was told, or could not be.

        Nothing confirms an ack: those of a connection are certain only while it lasts.
        """
        if job.message_id is not None:
            _remember(self._acked if told else self._uncertain, job.message_id)

    def connection_lost(self) -> None:
        """Forget what waits here, since the broker has it again, and doubt every ack that went over the connection."""
        self._waiting.clear()
        for message_id in self._acked:
            _remember(self._uncertain, message_id)
        self._acked.clear()

    def give_up_waiting(self) -> list[D]:
        """Empty the buffer and return what was in it."""
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting


def _remember(ids: OrderedDict[str, None], message_id: str) -> None:
    ids[message_id] = None
    if len(ids) > REMEMBERED:
        ids.popitem(last=False)

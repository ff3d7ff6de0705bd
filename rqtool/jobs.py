"""What a worker has in its hands: tasks that wait here, tasks at work, results whose ack may be lost. Pure.

A task that was in hand when the connection went, and comes again, is settled by the one result that it has or gets: an
ack that was lost must not cost the work a second time. Nothing confirms an ack: those of a connection are certain only
while it lasts. Within one connection every delivery is a task of its own, whatever id it has.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

REMEMBERED = 10_000
"""How many done tasks are remembered whose ack may be lost."""


class Identified(Protocol):
    """What is asked of a delivery here.

    `key` tells one task from all others, None where nothing does; `may_repeat`: it can be one that was here before.
    """

    @property
    def key(self) -> Hashable | None: ...

    @property
    def may_repeat(self) -> bool: ...


D = TypeVar("D", bound=Identified)


@dataclass(slots=True, eq=False)
class Job(Generic[D]):
    """A task at work, and the delivery that its result will settle: the last one, if it came again."""

    delivery: D


class Jobs(Generic[D]):
    """At most `slots` jobs at work at once."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._waiting: deque[D] = deque()
        self._acked: OrderedDict[Hashable, None] = OrderedDict()
        self._uncertain: OrderedDict[Hashable, None] = OrderedDict()
        self._orphans: dict[Hashable, Job[D]] = {}
        self.running: set[Job[D]] = set()
        self.received = 0

    @property
    def idle(self) -> bool:
        return not self.running and not self._waiting

    def receive(self, delivery: D) -> bool:
        """Take a delivery in. False: its task was done here already, and it is to be acked."""
        self.received += 1
        key = delivery.key if delivery.may_repeat else None
        if key is not None and key in self._uncertain:
            del self._uncertain[key]
            _remember(self._acked, key)
            return False
        orphan = self._orphans.pop(key, None) if key is not None else None
        if orphan is not None:
            orphan.delivery = delivery
        else:
            self._waiting.append(delivery)
        return True

    def start_next(self) -> Job[D] | None:
        """The next job, if one waits and a slot is free."""
        if not self._waiting or len(self.running) >= self._slots:
            return None
        job = Job(self._waiting.popleft())
        self.running.add(job)
        return job

    def end(self, job: Job[D]) -> None:
        """The job is over, with whatever result."""
        self.running.discard(job)
        key = job.delivery.key
        if key is not None and self._orphans.get(key) is job:
            del self._orphans[key]

    def done(self, job: Job[D], *, told: bool) -> None:
        """The work is done, and the broker was told, or could not be."""
        if job.delivery.key is not None:
            _remember(self._acked if told else self._uncertain, job.delivery.key)

    def connection_lost(self) -> None:
        """Forget what waits here, since the broker has it again; what runs or was acked may come again."""
        self._waiting.clear()
        self._orphans = {job.delivery.key: job for job in self.running if job.delivery.key is not None}
        for key in self._acked:
            _remember(self._uncertain, key)
        self._acked.clear()

    def give_up_waiting(self) -> list[D]:
        """Empty the buffer and return what was in it."""
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting


def _remember(keys: OrderedDict[Hashable, None], key: Hashable) -> None:
    keys[key] = None
    if len(keys) > REMEMBERED:
        keys.popitem(last=False)

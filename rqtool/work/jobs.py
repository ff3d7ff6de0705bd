"""What a worker has in its hands: tasks that wait here, tasks at work, results that are being settled. Pure.

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
"""How many results are remembered whose ack may be lost."""


class Identified(Protocol):
    """What is asked of a delivery here.

    `key` tells one task from all others, None where nothing does; `may_repeat`: it can be one that was here before.
    """

    @property
    def key(self) -> Hashable | None: ...

    @property
    def may_repeat(self) -> bool: ...


D = TypeVar("D", bound=Identified)
R = TypeVar("R")


@dataclass(slots=True, eq=False)
class Job(Generic[D]):
    """A task in hand, and the delivery that its result will settle: the last one, if it came again."""

    delivery: D


@dataclass(frozen=True, slots=True)
class Reception(Generic[D, R]):
    """What a delivery turned out to be.

    `known`: the task was in hand before; then `ended` has the job and what is left to do for its result, or is None
    because the result is still to come. Not `known`: it is work.
    """

    known: bool = False
    ended: tuple[Job[D], R] | None = None


class Jobs(Generic[D, R]):
    """R: what is to be done with a delivery, once the result is there."""

    def __init__(self) -> None:
        self._work: Reception[D, R] = Reception()
        self._waiting: deque[D] = deque()
        self._ahead: deque[D] = deque()
        self._sure: OrderedDict[Hashable, R] = OrderedDict()
        self._unsure: OrderedDict[Hashable, R] = OrderedDict()
        self._orphans: dict[Hashable, Job[D]] = {}
        self.running: set[Job[D]] = set()
        self.settling: set[Job[D]] = set()
        self.received = 0

    @property
    def at_work(self) -> bool:
        """Whether some task runs, or some result is not settled."""
        return bool(self.running or self.settling)

    @property
    def idle(self) -> bool:
        return not (self.at_work or self._waiting or self._ahead)

    def receive(self, delivery: D) -> Reception[D, R]:
        """Take a delivery in: find out whether its task is in hand already."""
        self.received += 1
        key = delivery.key if delivery.may_repeat else None
        orphan = self._orphans.pop(key, None) if key is not None else None
        if orphan is not None:
            orphan.delivery = delivery
            return Reception(known=True)
        if key is not None and key in self._unsure:
            return Reception(known=True, ended=(self.settle(delivery), self._unsure.pop(key)))
        return self._work

    def wait(self, delivery: D, *, ahead: bool = False) -> None:
        """Let a delivery that is not known wait for its start, `ahead` of all others or as the last of them."""
        (self._ahead if ahead else self._waiting).append(delivery)

    @property
    def first_waiting(self) -> D | None:
        """The first of those that do not go ahead."""
        return self._waiting[0] if self._waiting else None

    @property
    def first_ahead(self) -> D | None:
        return self._ahead[0] if self._ahead else None

    @property
    def ahead(self) -> int:
        """How many wait ahead of all others."""
        return len(self._ahead)

    def waits_behind(self, at_once: int) -> bool:
        """Whether anything waits while `at_once` tasks are at work."""
        return bool(self._ahead or self._waiting) or len(self.running) > at_once

    def start_next(self) -> Job[D]:
        """Make the first that waits a job; it is at work, or about to be."""
        job = Job((self._ahead or self._waiting).popleft())
        self.running.add(job)
        return job

    def start(self, delivery: D) -> Job[D]:
        """Make a delivery a job that has not waited."""
        job = Job(delivery)
        self.running.add(job)
        return job

    def take_first(self) -> Job[D]:
        """Take `first_waiting` to settle it without running it."""
        return self.settle(self._waiting.popleft())

    def ended(self, job: Job[D]) -> None:
        """The job has its result; it stays in hand until it is settled."""
        self.running.discard(job)
        self.settling.add(job)

    def settled(self, job: Job[D], rest: R, *, told: bool) -> None:
        """The broker was told, or could not be; `rest` is left to do if the task comes again."""
        self.dropped(job)
        self._remember(job.delivery.key, rest, sure=told)

    def dropped(self, job: Job[D]) -> None:
        """The broker has the task again, and whoever gets it is to begin anew."""
        self.running.discard(job)
        self.settling.discard(job)
        self._forget_orphan(job)

    def connection_lost(self) -> None:
        """Forget what waits here, since the broker has it again; what is in hand or was acked may come again."""
        self._waiting.clear()
        self._ahead.clear()
        in_hand = self.running | self.settling
        self._orphans = {key: job for job in in_hand if (key := job.delivery.key) is not None}
        for key, rest in self._sure.items():
            _add(self._unsure, key, rest)
        self._sure.clear()

    def give_up_waiting(self) -> list[D]:
        """Empty the buffer and return what was in it."""
        waiting = [*self._ahead, *self._waiting]
        self._ahead.clear()
        self._waiting.clear()
        return waiting

    def settle(self, delivery: D) -> Job[D]:
        """Make a delivery a job that is settled without being run."""
        job = Job(delivery)
        self.settling.add(job)
        return job

    def _forget_orphan(self, job: Job[D]) -> None:
        key = job.delivery.key
        if key is not None and self._orphans.get(key) is job:
            del self._orphans[key]

    def _remember(self, key: Hashable | None, rest: R, *, sure: bool) -> None:
        if key is not None:
            _add(self._sure if sure else self._unsure, key, rest)


def _add(results: OrderedDict[Hashable, R], key: Hashable, rest: R) -> None:
    results[key] = rest
    if len(results) > REMEMBERED:
        results.popitem(last=False)

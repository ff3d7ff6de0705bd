"""All jobs of a worker: which is next, how many are at work, and whether a task is already here. Pure.

If a task was in hand when the connection was lost and is redelivered, its one result settles it: a lost ack must not
cost the work a second time. The broker does not confirm acks: those of a connection are certain only while it lasts.
Within one connection every delivery is a separate task, whatever its id. So a key that two of them had belongs to
several tasks, and a result for it says nothing about the next one.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Hashable
from typing import TYPE_CHECKING

from rqtool.amqp.headers import copied_at
from rqtool.work.job import NEXT, Job, Owner, Result, State

if TYPE_CHECKING:
    from rqtool.amqp.consumer import Delivery

REMEMBERED = 10_000
"""How many results are remembered, in case their ack is lost."""
_NEVER, _SHARED = -1, -2
_MOST_INTERRUPTIONS = 1_000


class Jobs:
    """The one owner of the jobs of `queue`; their states change here. `most`: how many to take on, None: no limit."""

    def __init__(self, queue: str, most: int | None = None) -> None:
        self.queue = queue
        self._most = most
        self.in_hand: set[Job] = set()
        self.count = dict.fromkeys(NEXT, 0)
        """How many jobs are in each state."""
        self.withdrawn: deque[Job] = deque()
        """The next ones to be handed over; then `ahead`, what waits from NAME.returned; then `behind`, from NAME."""
        self.ahead: deque[Job] = deque()
        self.behind: deque[Job] = deque()
        self._orphans: dict[Hashable, Job] = {}  # in hand when a connection was lost
        self._results: OrderedDict[Hashable, tuple[Result | None, int]] = OrderedDict()
        """The result, and the connection of the ack; _NEVER, or _SHARED if several tasks have the key."""
        self._connection = self._taken_on = self._begun = self.received = 0
        self.interruptions: deque[float] = deque(maxlen=_MOST_INTERRUPTIONS)
        """When the broker or the network failed, in seconds since 1970: that explains why tasks in hand come again."""
        self.has_moved_some = False  # to another queue

    # Questions.

    @property
    def idle(self) -> bool:
        return not self.in_hand

    @property
    def in_pool(self) -> int:
        return self.count["handed over"] + self.count["running"]

    @property
    def at_work(self) -> int:
        """How many the pool has, or has returned."""
        return self.in_pool + len(self.withdrawn)

    @property
    def leaving(self) -> int:
        """How many tasks are on their way to another queue."""
        return self.count["settling"] + self.count["moving"]

    @property
    def taken_on_enough(self) -> bool:
        return self._most is not None and self._taken_on >= self._most

    @property
    def waiting(self) -> list[Job]:
        """All waiting jobs, in the order in which they would begin."""
        return [*self.ahead, *self.behind]

    @property
    def working(self) -> list[Job]:
        """The jobs that count in `at_work`."""
        return [job for job in self.in_hand if job.is_at_work]

    # What happens to a job.

    def receive(self, delivery: Delivery, owner: Owner) -> Job:
        """Return the job of a delivery: the one that was in hand before, or a new one, "ended" or "received"."""
        self.received += 1
        key = delivery.key if delivery.may_repeat else None
        if key is not None and (orphan := self._orphans.pop(key, None)) is not None:
            orphan.delivery = delivery
            return orphan
        excused = 0 if delivery.queue == self.queue else self._excused(delivery)
        job = Job(delivery, self.queue, owner, excused)
        result, acked_on = self._results.get(key, (None, _SHARED))
        if acked_on not in (self._connection, _SHARED):
            del self._results[key]
            job.state, job.result = "ended", result
        self.count[job.state] += 1
        self.in_hand.add(job)
        return job

    def wait(self, job: Job) -> None:
        self._enter(job, "waiting")
        (self.behind if job.delivery.queue == self.queue else self.ahead).append(job)

    def hand_over(self, job: Job) -> None:
        self._taken_on += job.state != "withdrawn"
        self._enter(job, "handed over")

    def begin(self, job: Job) -> None:
        self._enter(job, "running")
        self._begun += 1
        job.number = self._begun

    def withdraw(self, job: Job) -> None:
        """The pool has not begun it: it will be the first to be handed over again."""
        self._enter(job, "withdrawn")
        self.withdrawn.appendleft(job)

    def move(self, job: Job) -> None:
        """It is on its way to another queue: the one in its result, or, without one, where it will begin."""
        self.has_moved_some = True
        self._enter(job, "moving" if job.result is None else "settling")

    def settle(self, job: Job, *, acked: bool) -> None:
        """It needs nothing more on this connection; if it comes again, its `result` and the ack are left to do."""
        self._enter(job, "settled")
        if (key := job.delivery.key) is not None:
            self._remember(key, job.result, _SHARED if self._is_shared(key) else self._connection if acked else _NEVER)

    def give_back(self, job: Job) -> None:
        """The broker has the task again, and it will start over."""
        self._enter(job, "returned")

    def connection_lost(self) -> None:
        """Forget the waiting jobs: the broker has their tasks again. Tasks in hand or acked may be redelivered."""
        for key, tasks in Counter(job.delivery.key for job in self.in_hand).items():
            if key is not None and (tasks > 1 or self._is_shared(key)):
                self._remember(key, None, _SHARED)
        for job in [*self.waiting, *self.withdrawn]:
            self.give_back(job)
        self._connection += 1
        self._orphans = {key: job for job in self.in_hand if (key := job.delivery.key) is not None}

    def _is_shared(self, key: Hashable) -> bool:
        """Whether a task other than the current one has the key."""
        _, acked_on = self._results.get(key, (None, _NEVER))
        return acked_on in (self._connection, _SHARED)

    def _remember(self, key: Hashable, result: Result | None, acked_on: int) -> None:
        self._results[key] = result, acked_on
        if len(self._results) > REMEMBERED:
            self._results.popitem(last=False)

    def _excused(self, delivery: Delivery) -> int:
        """How many returns of a delivery are explained by interruptions: one for each since the copy was made."""
        made = copied_at(delivery.copy_token)
        return sum(made < at for at in self.interruptions)

    def _enter(self, job: Job, state: State) -> None:
        before = job.state
        if state not in NEXT[before]:
            raise RuntimeError(f"a job that is {before} can't become {state}")
        if before == "waiting":
            (self.behind if job.delivery.queue == self.queue else self.ahead).remove(job)
        elif before == "withdrawn":
            self.withdrawn.remove(job)
            self._taken_on -= state != "handed over"
        if state == "settled" or state == "returned":
            self.in_hand.discard(job)
            if self._orphans and self._orphans.get(key := job.delivery.key) is job:
                del self._orphans[key]
        self.count[before] -= 1
        self.count[state] += 1
        job.state = state

"""One attempt at a task: begun, run, judged, handed on to be settled."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from rqtool.amqp import headers, topology
from rqtool.amqp.consumer import Delivery
from rqtool.errors import RqtoolError, UsageError
from rqtool.output import unwritable
from rqtool.run.outcome import Failed, Outcome, OutputGone, Rejected, Shortage, why
from rqtool.run.pool import Pool
from rqtool.run.task import Task
from rqtool.text import plural
from rqtool.work.delivered import failed_headers, source_of, step_of, task_of
from rqtool.work.jobs import Job
from rqtool.work.listener import Listener
from rqtool.work.poison import DEATHS, Source, Step
from rqtool.work.prefetch import Prefetch
from rqtool.work.retry import Ack, Delay, GiveUp, RetryAfter, Return, judge
from rqtool.work.settle import Acknowledge, Move, Settler, WorkerJobs

_FAILURES = (Failed, Rejected)
LONGEST_PAUSE = 30.0
"""Seconds between two looks whether a task can be started here again."""


def _reason_to_stop(outcome: Outcome) -> RqtoolError:
    if isinstance(outcome, OutputGone):
        return unwritable(outcome.why)
    return UsageError(why(outcome), "The task is back in the queue: correct what can't be run")


class Attempt:
    """The run of a job: a rqtool.run.lane.Run."""

    def __init__(self, attempts: Attempts, job: Job[Delivery], task: Task) -> None:
        self._attempts = attempts
        self._started: float | None = None
        self._told = False
        self.job = job
        self.task = task

    def begun(self) -> None:
        self._started = time.monotonic()
        if not self._told:
            self._told = True
            self._attempts.begun(self)

    def ended(self, outcome: Outcome) -> None:
        if self._started is None and not isinstance(outcome, Shortage):
            self.begun()
        self._attempts.ended(self, outcome, time.monotonic() - (self._started or 0.0))

    def returned(self) -> None:
        self._attempts.returned(self)


class Attempts:
    """Runs jobs.

    `fail` gets what ends the worker, `tell` calls a listener's method, `changed` is called when a task can be handed
    over again, or another one in its place.
    """

    def __init__(
        self,
        queue: str,
        delays: Sequence[Delay],
        pool: Pool,
        listener: Listener,
        jobs: WorkerJobs,
        settler: Settler,
        prefetch: Prefetch,
        *,
        tell: Callable[..., None],
        fail: Callable[[Exception], None],
        changed: Callable[[], None],
    ) -> None:
        self._queue = queue
        self._delays = delays
        self._pool = pool
        self._listener = listener
        self._jobs = jobs
        self._settler = settler
        self._prefetch = prefetch
        self._tell = tell
        self._fail = fail
        self._changed = changed
        self._again: deque[Attempt] = deque()  # returned by the pool
        self._cut_off = False
        self._pauses = 0
        self._paused_until = 0.0
        self.handed_over = 0
        self.dead = 0

    @property
    def has_room(self) -> bool:
        """Whether a task can begin now, or so soon that it is handed over."""
        return len(self._jobs.running) < self._pool.capacity and not self._is_short

    @property
    def has_free_job(self) -> bool:
        """Whether a task could begin at once."""
        return len(self._jobs.running) < self._pool.jobs and not self._is_short

    @property
    def _is_short(self) -> bool:
        return self._pauses > 0 and time.monotonic() < self._paused_until

    def begin(self, job: Job[Delivery]) -> None:
        """Begin a job for which there is room."""
        self.handed_over += 1
        self._pool.begin(Attempt(self, job, task_of(self._queue, job.delivery)))

    def begin_again(self) -> None:
        """Hand over what the pool has returned, as it has room for it."""
        room = 0 if self._is_short else self._pool.capacity - len(self._jobs.running) + len(self._again)
        while self._again and room > 0:
            attempt = self._again.popleft()
            if attempt.job.delivery.live:
                self._pool.begin(attempt)
                room -= 1
            else:
                self._drop(attempt.job)

    def withdraw(self) -> None:
        """Let nothing begin any more that was handed over."""
        self._pool.withdraw()

    def give_back(self) -> None:
        """Return what was handed over and has not begun."""
        self.withdraw()
        while self._again:
            job = self._again.popleft().job
            self._drop(job)
            self.put_back(job.delivery)

    def give_back_all(self) -> None:
        """Return everything that has not begun."""
        for delivery in self._jobs.give_up_waiting():
            self.put_back(delivery)
        self.give_back()

    def put_back(self, delivery: Delivery) -> None:
        """Return a task that was not begun, or that was cut off, in a way that does not count against it."""
        if not delivery.live:
            return
        match source_of(self._queue, delivery):
            case Source.MAIN:
                delivery.requeue()
            case Source.RETURNED:
                self.move_to_returned(self._jobs.settle(delivery))
            case Source.QUARANTINE:
                self.isolate(delivery, headers.count(delivery.headers, headers.STARTS))

    async def cut_off(self, seconds: float) -> None:
        """Kill what runs. The broker delivers it again, and it was not the task that ended its worker; where the broker
        would count it so, there are `seconds` to put it back otherwise.
        """
        self._cut_off = True
        self._pool.kill()
        for job in list(self._jobs.running):
            self._jobs.dropped(job)
            self.put_back(job.delivery)
        await self._settler.finish(seconds)

    # Tasks that were delivered before: see rqtool.work.poison.

    def move_to_returned(self, job: Job[Delivery]) -> None:
        """Move what the broker flagged to where its further returns are counted."""
        fresh = headers.started(job.delivery.headers, starts=0)
        self._settler.relocate(job, topology.returned(self._queue), fresh)

    def isolate(self, delivery: Delivery, starts: int = 0) -> None:
        """Move a suspect to the end of the quarantine."""
        isolated = headers.started(delivery.headers, starts=starts)
        self._settler.relocate(self._jobs.settle(delivery), topology.quarantine(self._queue), isolated)

    def take_suspect(self, delivery: Delivery) -> None:
        """Begin a task of the quarantine, unless it was begun there before."""
        reception = self._jobs.receive(delivery)
        if reception.ended is not None:
            self._settler.settle(*reception.ended)
        elif not reception.known:
            match step_of(self._queue, delivery):
                case Step.TO_DEAD:
                    self._bury(delivery)
                case Step.TO_QUARANTINE:
                    self.isolate(delivery, headers.count(delivery.headers, headers.STARTS) + 1)
                case _:
                    self.begin(self._jobs.start(delivery))

    def _bury(self, delivery: Delivery) -> None:
        job, task = self._jobs.settle(delivery), task_of(self._queue, delivery)
        reason = f"its worker died, or lost its connection, each time that it ran ({plural(DEATHS, 'time')} in a row)"
        task = replace(task, attempt=task.attempt - 1 + DEATHS)
        self._settler.settle(job, self._burial(job, task, Failed(reason), 0.0, task.attempt))

    def _drop(self, job: Job[Delivery]) -> None:
        self.handed_over -= 1
        self._jobs.dropped(job)
        self._changed()

    # The run and its verdict.

    def begun(self, attempt: Attempt) -> None:
        self._tell(self._listener.received, attempt.task)

    def returned(self, attempt: Attempt) -> None:
        self._again.appendleft(attempt)
        self._changed()

    def ended(self, attempt: Attempt, outcome: Outcome, seconds: float) -> None:
        if self._cut_off:
            return
        if isinstance(outcome, Shortage):
            self._wait_for_room(attempt, outcome.why)
            return
        self._pauses = 0
        self._prefetch.took(seconds)
        job, task = attempt.job, attempt.task
        self._jobs.ended(job)
        if isinstance(outcome, _FAILURES):
            self._tell(self._listener.failed, task, outcome, seconds)
        verdict = judge(outcome, task.attempt, self._delays)
        if not isinstance(verdict, Ack):
            self._pool.withdraw()  # nothing is begun before it is known that this one could be stored
        match verdict:
            case Ack():
                self._settler.settle(job, Acknowledge())
                self._tell(self._listener.done, task, outcome, seconds)
            case RetryAfter(delay):
                self._settler.settle(job, self._retry(job, task, outcome, seconds, delay))
            case GiveUp():
                self._settler.settle(job, self._burial(job, task, outcome, seconds, task.attempt))
            case Return():
                self._jobs.dropped(job)
                self.put_back(job.delivery)
                self._fail(_reason_to_stop(outcome))

    def _wait_for_room(self, attempt: Attempt, reason: str) -> None:
        """Try again what could not begin here, after a pause that grows."""
        if not self._pauses:
            self._tell(self._listener.shortage, reason)
        if not self._is_short:
            self._pauses += 1
            seconds = min(2.0 ** (self._pauses - 1), LONGEST_PAUSE)
            self._paused_until = time.monotonic() + seconds
            asyncio.get_running_loop().call_later(seconds + 0.01, self._changed)
        self._pool.withdraw()
        self.returned(attempt)

    def _retry(self, job: Job[Delivery], task: Task, outcome: Outcome, seconds: float, delay: Delay) -> Move:
        place = topology.waiting(self._queue, delay.name, delay.seconds)
        then = partial(self._tell, self._listener.retry, task, outcome, seconds, delay.name)
        return Move(place, failed_headers(job.delivery, outcome, task.attempt), then)

    def _burial(self, job: Job[Delivery], task: Task, outcome: Outcome, seconds: float, attempts: int) -> Move:
        place = topology.dead(self._queue)

        def buried() -> None:
            self.dead += 1
            self._tell(self._listener.dead, task, outcome, seconds, place.name)

        return Move(place, failed_headers(job.delivery, outcome, attempts), buried)

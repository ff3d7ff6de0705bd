"""One attempt at a task: begun, carefully where it is suspicious; run; judged; handed on to be settled."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from rqtool import headers
from rqtool.broker import topology
from rqtool.broker.consumer import Consumer, Delivery
from rqtool.delivered import failed_headers, task_of
from rqtool.errors import AccessRefused, RqtoolError, UsageError
from rqtool.handlers.handler import Handler
from rqtool.jobs import Job
from rqtool.listener import Listener
from rqtool.outcomes import Failed, Outcome, Rejected, why
from rqtool.retry import Ack, Delay, GiveUp, RetryAfter, Return, judge
from rqtool.settling import Acknowledge, Move, Settler, WorkerJobs
from rqtool.suspects import is_poison, is_suspect, take_out
from rqtool.task import Task
from rqtool.text import plural

_FAILURES = (Failed, Rejected)


class Attempt:
    """The run of a job: a rqtool.handlers.handler.Run."""

    def __init__(self, attempts: Attempts, job: Job[Delivery], task: Task) -> None:
        self._attempts = attempts
        self._started: float | None = None
        self.job = job
        self.task = task

    def begun(self) -> None:
        self._started = time.monotonic()
        self._attempts.begun(self)

    def ended(self, outcome: Outcome) -> None:
        if self._started is None:
            self.begun()
        self._attempts.ended(self, outcome, time.monotonic() - (self._started or 0.0))

    def returned(self) -> None:
        self._attempts.returned(self)


class Attempts:
    """Runs jobs, `slots` at once.

    `fail` gets what ends the worker, `tell` calls a listener's method, `say` has lines for people, `changed` is called
    when a task can be handed over again, or another one in its place.
    """

    def __init__(
        self,
        queue: str,
        slots: int,
        delays: Sequence[Delay],
        handler: Handler,
        listener: Listener,
        jobs: WorkerJobs,
        settler: Settler,
        *,
        say: Callable[[str], None],
        tell: Callable[..., None],
        fail: Callable[[RqtoolError], None],
        changed: Callable[[], None],
    ) -> None:
        self._queue = queue
        self._slots = slots
        self._delays = delays
        self._handler = handler
        self._listener = listener
        self._jobs = jobs
        self._settler = settler
        self._say = say
        self._tell = tell
        self._fail = fail
        self._changed = changed
        self._again: deque[Attempt] = deque()  # returned by the handler
        self._preparing: dict[Job[Delivery], asyncio.Task[None]] = {}
        self._careful: set[Job[Delivery]] = set()
        self._traceless = False
        self._cut_off = False
        self.handed_over = 0
        self.dead = 0

    def has_room(self, delivery: Delivery) -> bool:
        """Whether this one can begin now, or so soon that it is handed over.

        Around one that is begun carefully nothing waits: it would be taken for the one that its worker died of.
        """
        careful = self._careful or self._preparing or is_suspect(delivery)
        return len(self._jobs.running) < (self._slots if careful else self._handler.capacity)

    def begin(self, job: Job[Delivery], consumer: Consumer) -> None:
        """Begin a job for which there is room."""
        if is_poison(job.delivery):
            self._give_up_poison(job)
            return
        self.handed_over += 1
        if self._traceless or not is_suspect(job.delivery):
            self._run(job)
        else:
            task = self._settler.spawn(self._begin_carefully(job, consumer))
            self._preparing[job] = task
            task.add_done_callback(partial(self._prepared, job))

    def begin_again(self) -> None:
        """Hand over what the handler has returned, as it has room for it."""
        room = self._handler.capacity - len(self._jobs.running) + len(self._again)
        while self._again and room > 0:
            attempt = self._again.popleft()
            if attempt.job.delivery.live:
                self._handler.begin(attempt)
                room -= 1
            else:
                self._drop(attempt.job)

    def give_back(self) -> None:
        """Return what was handed over and has not begun."""
        self._handler.withdraw()
        while self._again:
            job = self._again.popleft().job
            if job in self._careful and job.delivery.live:
                self._careful.discard(job)
                self._jobs.ended(job)
                self._settler.spawn(self._undo(job))
            else:
                job.delivery.requeue()
                self._drop(job)

    def _drop(self, job: Job[Delivery]) -> None:
        self.handed_over -= 1
        self._careful.discard(job)
        self._jobs.dropped(job)
        self._changed()

    def _prepared(self, job: Job[Delivery], task: asyncio.Task[None]) -> None:
        self._preparing.pop(job, None)
        if not task.cancelled() and task.exception() is not None:
            # A bug, which ends the worker: it must not wait for this job.
            self._jobs.dropped(job)
            job.delivery.requeue()

    def abandon(self) -> None:
        """Return the tasks that could not be begun so far: the broker may not take their traces for hours."""
        for job, task in self._preparing.items():
            task.cancel()
            self._jobs.dropped(job)
            job.delivery.requeue()

    def renew(self, job: Job[Delivery]) -> None:
        """Put a task that the broker may soon drop at the end of the queue, as a fresh message; it is not begun."""
        self._settler.spawn(self._renew(job))

    async def cut_off(self, seconds: float) -> None:
        """Kill what runs. The broker delivers it again; a start that was counted is taken back, since it was not the
        task that ended it, for which there are `seconds`.
        """
        self._cut_off = True
        self._handler.kill()
        if self._careful:
            undone = [asyncio.ensure_future(self._take_back(job)) for job in self._careful]
            await asyncio.wait(undone, timeout=seconds)

    # Tasks that were delivered before.

    def _give_up_poison(self, job: Job[Delivery]) -> None:
        deaths = headers.count(job.delivery.headers, headers.STARTS) + 1  # nobody counted the first start
        reason = f"its worker died, or lost its connection, each time that it ran ({plural(deaths, 'time')} in a row)"
        self._jobs.ended(job)
        task = task_of(self._queue, job.delivery)
        task = replace(task, attempt=task.attempt - 1 + deaths)
        self._settler.settle(job, self._burial(job, task, Failed(reason), 0.0, task.attempt))

    async def _begin_carefully(self, job: Job[Delivery], consumer: Consumer) -> None:
        place = topology.started(self._queue)
        starts = headers.count(job.delivery.headers, headers.STARTS) + 1
        try:
            copy = await self._settler.store(job, Move(place, headers.started(job.delivery.headers, starts=starts)))
        except AccessRefused as refusal:
            self._go_without_traces(refusal)
            self._run(job)
            return
        except RqtoolError as error:
            self._fail(error)
            copy = None
        if copy is None:
            self.handed_over -= 1
            self._jobs.dropped(job)
            return
        original = job.delivery
        told = original.ack()
        taken = await take_out(consumer, place, copy)
        if job.delivery is not original:
            told = job.delivery.ack()  # it came again meanwhile
        if taken is None or not taken.live:
            # The copy comes home by itself.
            self.handed_over -= 1
            self._jobs.settled(job, Acknowledge(), told=told and not consumer.lost.done())
            return
        self._jobs.exchange(job, taken, Acknowledge())
        self._careful.add(job)
        self._run(job)

    async def _renew(self, job: Job[Delivery]) -> None:
        fresh = Move(topology.at_home(self._queue), headers.of_the_sender(job.delivery.headers))
        try:
            stored = None if self._traceless else await self._settler.store(job, fresh)
        except AccessRefused as refusal:
            self._go_without_traces(refusal)
            stored = None
        except RqtoolError as error:
            self._fail(error)
            stored = None
        if stored is not None:
            self._jobs.settled(job, Acknowledge(), told=job.delivery.ack())
        elif job.delivery.live:
            self._jobs.put_back(job)
        else:
            self._jobs.dropped(job)

    def _go_without_traces(self, refusal: AccessRefused) -> None:
        if not self._traceless:
            self._traceless = True
            self._say(f"{refusal.what}. A task that kills its worker can't be told from others now")

    async def _take_back(self, job: Job[Delivery]) -> None:
        starts = headers.count(job.delivery.headers, headers.STARTS) - 1
        move = Move(topology.at_home(self._queue), headers.started(job.delivery.headers, starts=starts))
        if await self._settler.store(job, move) is not None:
            job.delivery.ack()

    async def _undo(self, job: Job[Delivery]) -> None:
        await self._take_back(job)
        self._jobs.dropped(job)

    # The run and its verdict.

    def _run(self, job: Job[Delivery]) -> None:
        self._handler.begin(Attempt(self, job, task_of(self._queue, job.delivery)))

    def begun(self, attempt: Attempt) -> None:
        self._tell(self._listener.received, attempt.task)

    def returned(self, attempt: Attempt) -> None:
        self._again.appendleft(attempt)
        self._changed()

    def ended(self, attempt: Attempt, outcome: Outcome, seconds: float) -> None:
        if self._cut_off:
            return
        job, task = attempt.job, attempt.task
        self._careful.discard(job)
        self._jobs.ended(job)
        if isinstance(outcome, _FAILURES):
            self._tell(self._listener.failed, task, outcome, seconds)
        verdict = judge(outcome, task.attempt, self._delays)
        if not isinstance(verdict, Ack):
            self._handler.withdraw()  # nothing is begun before it is known that this one could be stored
        match verdict:
            case Ack():
                self._settler.settle(job, Acknowledge())
                self._tell(self._listener.done, task, seconds)
            case RetryAfter(delay):
                self._settler.settle(job, self._retry(job, task, outcome, seconds, delay))
            case GiveUp():
                self._settler.settle(job, self._burial(job, task, outcome, seconds, task.attempt))
            case Return():
                job.delivery.requeue()
                self._jobs.dropped(job)
                self._fail(UsageError(why(outcome), "The task is back in the queue: correct what can't be run"))

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

"""Decides about each delivery, hands jobs to the pool, and gets their results from it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from rqtool.amqp.consumer import Delivery
from rqtool.errors import RqtoolError
from rqtool.run.outcome import Done, Failed, Outcome, Rejected, Shortage, is_stopped
from rqtool.run.pool import Pool
from rqtool.text import plural
from rqtool.work.brake import TOLERATED, Brake
from rqtool.work.job import Job
from rqtool.work.jobs import Jobs
from rqtool.work.lifecycle import Lifecycle
from rqtool.work.options import MOST_PREFETCH, WorkOptions
from rqtool.work.poison import Step
from rqtool.work.prefetch import Prefetch
from rqtool.work.report.events import Events
from rqtool.work.session import Session
from rqtool.work.settle import Settler
from rqtool.work.subscription import Subscription

SAID_FOR = 60.0
"""Seconds between two messages about a shortage: it can be over, and begin again, with each task that ends."""
TOGETHER = 0.5
"""Seconds within which a signal to all processes reaches all of them."""


class Dispatcher:
    """Each job passes `receive` and `begin_jobs`; then the pool calls `begun`, `ended` or `withdrawn`."""

    def __init__(
        self, options: WorkOptions, jobs: Jobs, pool: Pool, settler: Settler, events: Events, lifecycle: Lifecycle
    ) -> None:
        self._halt = options.halt
        self._jobs = jobs
        self._pool = pool
        self._settler = settler
        self._events = events
        self._lifecycle = lifecycle
        self.prefetch = Prefetch(options.jobs, options.max_tasks or MOST_PREFETCH)
        self._shortage = Brake()
        """On while the machine lacks a resource that a task needs to begin."""
        self._said_until = 0.0
        self._failures = Brake(TOLERATED if options.brake else None, options.longest_pause)
        """On while something that the tasks need seems to be broken."""
        self._probe: Job | None = None
        """The task that tests whether it still is."""
        self.suspended = False
        """Set while a task of the quarantine runs, or waits to run, alone."""

    # What the broker delivers.

    def receive(self, delivery: Delivery) -> None:
        """Take in a delivery of NAME or NAME.returned."""
        job = self._jobs.receive(delivery, self)
        if self._is_new(job):
            if job.step is Step.TO_QUARANTINE and self._settler.has_quarantine:
                self._settler.move_to_quarantine(job, starts=0)
            else:
                self._jobs.wait(job)
        self._lifecycle.changed()

    def receive_suspect(self, delivery: Delivery, *, may_begin: bool) -> None:
        """Take in a delivery of NAME.quarantine: it begins, unless it was begun there before."""
        job = self._jobs.receive(delivery, self)
        if not self._is_new(job):
            return
        if not may_begin:
            self._settler.return_to_queue(job)
        elif job.step is Step.TO_DEAD:
            self._settler.bury(job)
        elif job.step is Step.TO_QUARANTINE:
            self._settler.move_to_quarantine(job, job.starts + 1)
        elif job.returns:  # a new copy, since the next worker may not know of all these interruptions
            self._settler.move_to_quarantine(job, job.starts)
        else:
            self._begin(job)

    def _is_new(self, job: Job) -> bool:
        """Whether the task is unknown here; else its result, if it has one already, settles it."""
        known = job.state != "received"
        if known or (job.delivery.redelivered and job.source is None):
            self._events.redelivered(job.task, in_hand=known)
        if job.state == "ended":
            self._settler.settle(job)
        return not known

    # What begins.

    @property
    def is_hungry(self) -> bool:
        """Whether a task could begin at once, and none is here."""
        free = self._jobs.at_work < self._pool.jobs and self._may_begin and not self.suspended
        return free and not (self._jobs.waiting or self._settler.is_stuck or self._events.out.is_waiting)

    @property
    def pause_left(self) -> float:
        """For how many more seconds a brake lets no task begin."""
        now = time.monotonic()
        return max(self._shortage.left(now), self._failures.left(now))

    def begin_jobs(self, session: Session) -> None:
        """Hand over as much as the pool has room for."""
        if self._events.out.is_waiting:
            self._pool.withdraw()  # nobody would see what a task prints
            return
        withdrawn = self._jobs.withdrawn
        while withdrawn and self._has_room and not (self._lifecycle.stopping or self._settler.is_stuck):
            if (job := withdrawn[0]).delivery.live:
                self._begin(job)
            else:
                self._settler.return_to_queue(job)
        while not (self.suspended or self._settler.is_stuck) and self._begin_next(session.usable):
            pass

    def _begin_next(self, subscription: Subscription | None) -> bool:
        """Begin the next task, or move it to a queue from which it is taken first. Returns whether there was one."""
        if subscription is None:
            return False
        ahead, behind = self._jobs.ahead, self._jobs.behind
        job = behind[0] if behind else None
        if job is not None and job.step is Step.TO_RETURNED and subscription.counts_returns:
            if self._jobs.count["moving"] + len(ahead) < subscription.prefetch:
                self._settler.move_to_returned(job)
                return True
            job = None
        if ahead:
            job = None if self._settler.is_unacked_copy(ahead[0]) else ahead[0]
        if job is None or not self._has_room:
            return False
        self._begin(job)
        return True

    @property
    def _has_room(self) -> bool:
        # After a failure nothing is handed over in advance: it would begin before it is clear whether to go on.
        most = self._pool.jobs if self._failures.in_a_row else self._pool.capacity
        return self._jobs.in_pool < most and self._may_begin

    @property
    def _may_begin(self) -> bool:
        """Whether the brakes let the next task begin; an active brake allows one at a time, as a probe."""
        if self.pause_left:
            return False
        return not self._failures.is_on or self._probe is None or not self._probe.is_in_pool

    def _begin(self, job: Job) -> None:
        self._probe = job if self._failures.is_on else None
        self._jobs.hand_over(job)
        self._pool.begin(job)

    # What goes back.

    def return_withdrawn(self) -> None:
        """Give back the tasks that were handed over and have not begun."""
        self._pool.withdraw()
        for job in list(self._jobs.withdrawn):
            self._settler.return_to_queue(job)

    def return_waiting(self) -> None:
        """Give back the tasks that were not handed over."""
        for job in self._jobs.waiting:
            self._settler.return_to_queue(job)

    async def cut_off(self, seconds: float) -> None:
        """Kill the running tasks. They are not to blame: there are `seconds` to give them back uncounted."""
        self._pool.kill()
        for job in self._jobs.working:
            self._settler.return_to_queue(job)
        await self._settler.finish(seconds)

    # What the pool reports.

    def begun(self, job: Job, *, first: bool) -> None:
        self._jobs.begin(job)
        if first:
            self._events.received(job.task)

    def withdrawn(self, job: Job) -> None:
        self._jobs.withdraw(job)
        self._lifecycle.changed()

    def ended(self, job: Job, outcome: Outcome, seconds: float) -> None:
        if isinstance(outcome, Shortage):
            self._wait_for_room(job, outcome.why)
        elif is_stopped(outcome):
            self._lifecycle.start(self._stopped(job, outcome, seconds))
        else:
            self._conclude(job, outcome, seconds)

    async def _stopped(self, job: Job, outcome: Outcome, seconds: float) -> None:
        """A signal has ended the task: no verdict on it if it ends us too, and it may reach us later."""
        with suppress(TimeoutError):
            async with asyncio.timeout(TOGETHER):
                while not self._lifecycle.signals.finish:
                    await self._lifecycle.change()
        if not job.is_at_work:
            return  # it was cut off
        if self._lifecycle.signals.finish:
            self._events.cut_off(job.task, outcome)
            self._settler.return_to_queue(job)
        else:
            self._conclude(job, outcome, seconds)

    def _conclude(self, job: Job, outcome: Outcome, seconds: float) -> None:
        self._shortage.release()
        self.prefetch.took(seconds)
        if isinstance(outcome, Done):
            self._succeeded()
        else:
            if isinstance(outcome, Failed | Rejected):
                self._events.failed(job.task, outcome, seconds)
            if isinstance(outcome, Failed):
                self._failed(outcome.why, again=job.task.attempt > 1)
            self._pool.withdraw()  # nothing begins before it is clear that this one can be stored
        self._settler.conclude(job, outcome, seconds)

    def _wait_for_room(self, job: Job, reason: str) -> None:
        """After a growing pause, or when another one ends, try again a task that could not begin here."""
        now = time.monotonic()
        if now >= self._said_until:
            self._said_until = now + SAID_FOR
            self._events.shortage(reason)
        self._wake_after(self._shortage.failed(now))
        self._pool.withdraw()
        self.withdrawn(job)

    def _succeeded(self) -> None:
        if self._failures.is_on:
            self._events.released()
            self._lifecycle.changed()
        self._failures.release()

    def _failed(self, reason: str, *, again: bool) -> None:
        """Brake or halt if failures follow each other: something that the tasks need is broken. A task that asks for
        another attempt, or says that none can succeed, speaks only for itself, and counts neither as a failure nor as a
        success.
        """
        was_on = self._failures.is_on
        self._wake_after(self._failures.failed(time.monotonic(), again=again))
        in_a_row = self._failures.in_a_row
        if in_a_row == self._halt:
            what = f"Stopped by --halt: {plural(in_a_row, 'attempt')} failed in a row (the last one: {reason})"
            self._lifecycle.fail(RqtoolError(what, "Check what the tasks depend on, then start the worker again"))
        elif self._failures.is_on and not was_on:
            self._events.braked(in_a_row, reason, self._failures.longest)

    def _wake_after(self, seconds: float) -> None:
        if seconds:
            asyncio.get_running_loop().call_later(seconds + 0.01, self._lifecycle.changed)

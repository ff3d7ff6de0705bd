"""Settles results: with an ack, or first a confirmed copy elsewhere and then the ack. Never the other way round.

A crash between the two makes a duplicate; the other order would lose the task.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from rqtool.amqp import headers
from rqtool.amqp.connect import pause
from rqtool.amqp.errors import Lost, NoAnswer
from rqtool.amqp.republisher import NotTaken, Republisher
from rqtool.amqp.window import Message
from rqtool.errors import AccessRefused, RqtoolError, Unreachable, UsageError
from rqtool.output import unwritable
from rqtool.run.outcome import Failed, Outcome, OutputGone, Postponed, why
from rqtool.text import encodable, plural
from rqtool.topology import Destination, dead, quarantine, returned, spare, waiting
from rqtool.work.job import Job, Result
from rqtool.work.jobs import Jobs
from rqtool.work.lifecycle import Lifecycle
from rqtool.work.options import WorkOptions
from rqtool.work.poison import DEATHS, UNTOLD
from rqtool.work.report.events import Events
from rqtool.work.report.tally import Tally
from rqtool.work.retry import judge

_TRIES = 2
"""One failed try may only mean that the connection or the queue has gone since the last copy. After so many, something
is wrong, and we do without a wait queue or a quarantine that does not answer. If RabbitMQ up to 4.0 is killed within a
tenth of a second after it created a quorum queue, the queue never gets a leader."""


class Settler:
    """Judges how jobs ended, and settles them. An error that no further try can fix ends the worker."""

    def __init__(
        self, options: WorkOptions, jobs: Jobs, republisher: Republisher, events: Events, lifecycle: Lifecycle
    ) -> None:
        self._options = options
        self._jobs = jobs
        self._republisher = republisher
        self._events = events
        self._lifecycle = lifecycle
        self._moves: dict[str, asyncio.Task[None]] = {}
        """Moves under way, by the tokens of the copies."""
        self._spares: dict[str, Destination] = {}
        self.has_quarantine = True
        """Whether suspects can be moved there."""
        self._in_trouble = 0
        self.tally = Tally()

    @property
    def is_stuck(self) -> bool:
        """Whether no further task may begin, since it may fail too: some copy can't be stored for now, or as many
        copies as there are slots are unconfirmed.
        """
        if self._in_trouble or self._jobs.count["settling"] >= self._options.jobs:
            return True
        return self._republisher.blocked and self._jobs.count["settling"] > 0

    def is_unacked_copy(self, job: Job) -> bool:
        """Whether it is a copy whose original is not acknowledged yet: it might kill us before that."""
        return job.delivery.copy_token in self._moves

    def conclude(self, job: Job, outcome: Outcome, seconds: float) -> None:
        """Settle a job whose run ended with this outcome, after so many seconds."""
        try:
            self._events.ended(job, outcome, seconds)
        except RqtoolError as error:
            self._lifecycle.fail(error)
        match judge(outcome, job.task.attempt, self._options.retry_delays):
            case "done":
                self._acknowledge(job)
                self.tally.done += 1
                self._events.done(job.task, outcome, seconds)
            case "return":
                self.return_to_queue(job)
                setup = UsageError(why(outcome), "The task is back in the queue: correct what can't be run")
                self._lifecycle.fail(unwritable(outcome.why) if isinstance(outcome, OutputGone) else setup)
            case "dead":
                job.result = Result(job.task, outcome, seconds, dead(job.home))
                self.settle(job)
            case delay:
                place = waiting(job.home, delay.name, delay.seconds)
                job.result = Result(job.task, outcome, seconds, place, delay.name)
                self.settle(job)

    def bury(self, job: Job) -> None:
        """Give up a task that seems to kill its workers."""
        reason = f"its worker died, or lost its connection, each time that it ran ({plural(DEATHS, 'time')} in a row)"
        task = replace(job.task, attempt=job.task.attempt - 1 + DEATHS)
        job.result = Result(task, Failed(reason), 0.0, dead(job.home))
        self.settle(job)

    def settle(self, job: Job) -> None:
        """Finish an ended job: store a copy where its `result` says, if it has one, and ack."""
        if job.result is None:
            self._acknowledge(job)
        else:
            self._start_move(job, job.result.place, _failed_headers(job, job.result))

    def return_to_queue(self, job: Job) -> None:
        """Give back a task that did not begin, or was cut off, without counting it against the task."""
        if job.source is None or not job.delivery.live:
            job.delivery.requeue()
            self._jobs.give_back(job)
            self._lifecycle.changed()
        elif job.source == "returned":
            self.move_to_returned(job)
        else:
            self.move_to_quarantine(job, job.starts)

    def move_to_returned(self, job: Job) -> None:
        """Move a task to where the broker counts how often it comes back: see rqtool.work.poison."""
        self._start_move(job, returned(job.home), headers.started(job.delivery.headers, starts=0))

    def move_to_quarantine(self, job: Job, starts: int) -> None:
        """Move a suspect to the end of the quarantine, as one that was begun there so often."""
        self._start_move(job, quarantine(job.home), headers.started(job.delivery.headers, starts=starts))

    async def finish(self, seconds: float) -> None:
        """Wait so many seconds for the moves under way; the rest goes back with its connection."""
        deadline = time.monotonic() + seconds
        while self._moves and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait(self._moves.values(), timeout=left, return_when=asyncio.FIRST_COMPLETED)
        for move in self._moves.values():
            move.cancel()
        await self._republisher.close()

    def _acknowledge(self, job: Job) -> None:
        self._jobs.settle(job, acked=job.delivery.ack())
        self._lifecycle.changed()

    def _start_move(self, job: Job, place: Destination, new_headers: dict[str, Any]) -> None:
        copy = job.delivery.copied(new_headers)
        self._jobs.move(job)
        self._moves[copy.token] = self._lifecycle.start(self._move(job, place, copy))

    async def _move(self, job: Job, place: Destination, copy: Message) -> None:
        """Store a confirmed copy of the task, acknowledge the original, and report it."""
        try:
            stored = await self._store(job, place, copy)
        except RqtoolError as error:
            job.delivery.requeue()
            self._jobs.give_back(job)
            self._lifecycle.fail(error)
        else:
            if stored:
                result, job.result = job.result, None
                self._acknowledge(job)
                if result is not None:
                    self._report(result)
            elif job.result is not None:  # the task comes again, and its result is known
                self._jobs.settle(job, acked=False)
            else:
                self._jobs.give_back(job)
        finally:
            await asyncio.sleep(0)  # until the ack is written
            del self._moves[copy.token]
            self._lifecycle.changed()

    def _report(self, result: Result) -> None:
        self.tally.failed += not isinstance(result.outcome, Postponed)
        if result.delay:
            self.tally.retried += 1
            self._events.retry(result)
        else:
            self.tally.dead += 1
            self._events.dead(result)

    async def _store(self, job: Job, place: Destination, copy: Message) -> bool:
        """Try until the copy is confirmed, or the original is no longer ours. Returns whether it is confirmed. Raises
        AccessRefused, UnsafeQueue if no further try can succeed.
        """
        tries = 0
        try:
            while job.delivery.live:
                target = self._spares.get(place.name, place)
                try:
                    await self._republisher.deliver(target, copy)
                    return True
                except AccessRefused:
                    if target == place:
                        raise
                    self._spares[place.name] = place  # this user may not create the spare
                except (Lost, NotTaken, Unreachable) as problem:
                    tries += 1
                    self._in_trouble += tries == _TRIES
                    if tries == _TRIES and self._in_trouble == 1:
                        what = problem.what if isinstance(problem, RqtoolError) else problem
                        text = f"a task can't be stored in {place.name!r}: {what}; it is kept, and tried again"
                        self._events.complain(text)
                    if tries >= _TRIES and isinstance(problem, NoAnswer):
                        if place.wait is not None:
                            self._spares.setdefault(place.name, spare(place))
                        elif place == quarantine(job.home):
                            self._do_without_quarantine(job)
                await asyncio.sleep(pause(tries))
            return False
        finally:
            self._in_trouble -= tries >= _TRIES

    def _do_without_quarantine(self, job: Job) -> None:
        """Requeue a suspect, which then runs beside other tasks; complain the first time."""
        if self.has_quarantine:
            self.has_quarantine = False
            self._events.complain(f"{quarantine(job.home).name!r} takes no tasks: {UNTOLD}")
        job.delivery.requeue()


def _failed_headers(job: Job, result: Result) -> dict[str, Any]:
    detail = getattr(result.outcome, "detail", "")
    return headers.failed(
        job.delivery.headers,
        attempts=result.task.attempt,
        error=encodable(f"{why(result.outcome)}\n{detail}".strip()),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        worker=f"{socket.gethostname()}:{os.getpid()}",
    )

"""From a verdict to the broker: an ack, or first a confirmed copy elsewhere and then the ack. Never the other way.

A crash between the two makes a duplicate; the other order would lose the task.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from rqtool.amqp.connect import pause
from rqtool.amqp.consumer import Delivery
from rqtool.amqp.errors import Lost
from rqtool.amqp.republisher import NotTaken, Republisher
from rqtool.amqp.topology import Destination
from rqtool.amqp.window import Message
from rqtool.errors import RqtoolError, Unreachable
from rqtool.work.jobs import Job, Jobs


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """All that is left to do is to tell the broker."""


@dataclass(frozen=True, slots=True)
class Move:
    """A copy with these headers goes to `place`, and then the original is acknowledged; `then` is called at the end."""

    place: Destination
    headers: dict[str, Any]
    then: Callable[[], None] = lambda: None


Rest = Acknowledge | Move
WorkerJobs = Jobs[Delivery, Rest]


class Settler:
    """Settles jobs, of which `slots` are at work at once. `changed` is called after each; `fail` gets what no further
    try would mend.
    """

    def __init__(
        self,
        jobs: WorkerJobs,
        slots: int,
        courier: Republisher,
        *,
        say: Callable[[str], None],
        changed: Callable[[], None],
        fail: Callable[[Exception], None],
    ) -> None:
        self._jobs = jobs
        self._courier = courier
        self._say = say
        self._changed = changed
        self._fail = fail
        self._slots = slots
        self._moving: set[Job[Delivery]] = set()
        self._tasks: set[asyncio.Future[None]] = set()
        self._troubled: set[Job[Delivery]] = set()
        self._relocating: set[str] = set()
        self._acknowledged: list[str] = []
        self._finished = False
        self.moved = False

    @property
    def stuck(self) -> bool:
        """Whether no further task is to be begun, since it may fail as well: some copy can't be stored for now, or that
        is not yet known of as many copies as there are slots.
        """
        return bool(self._troubled) or (self._courier.blocked and bool(self._tasks)) or len(self._moving) >= self._slots

    def settle(self, job: Job[Delivery], rest: Rest) -> None:
        """Do what is left to do for a job that has its result. A copy is on its way when this returns."""
        if isinstance(rest, Acknowledge):
            self._jobs.settled(job, rest, told=job.delivery.ack())
            self._changed()
        else:
            self._moving.add(job)
            self.spawn(self._settle_by_move(job, rest))

    @property
    def relocating(self) -> int:
        """How many jobs are on their way to another queue."""
        return len(self._relocating)

    def relocate(self, job: Job[Delivery], place: Destination, headers: dict[str, Any]) -> None:
        """Move a job that has no result to another queue, where somebody will take it up."""
        message = job.delivery.copied(headers)
        self._relocating.add(message.token)
        self.moved = True
        answer = self._courier.publish(place, message)
        if answer is None:
            self.spawn(self._relocate(job, place, message))
        else:
            self._tasks.add(answer)
            answer.add_done_callback(partial(self._relocated, job, place, message))

    def is_relocating(self, delivery: Delivery) -> bool:
        """Whether it is a copy whose original is not acknowledged yet: begun now, it might end us before that."""
        return delivery.copy_token in self._relocating

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` beside everything else, and as part of what `finish` waits for."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def finish(self, seconds: float) -> None:
        """Wait for what is under way, but no longer; what is not settled then goes back with its connection."""
        deadline = time.monotonic() + seconds
        while self._tasks and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait(self._tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        self._finished = True
        for task in list(self._tasks):
            task.cancel()
        await self._courier.close()

    async def _settle_by_move(self, job: Job[Delivery], move: Move) -> None:
        try:
            stored = await self._store(job, move.place, job.delivery.copied(move.headers))
        except RqtoolError as error:
            job.delivery.requeue()
            self._jobs.dropped(job)
            self._fail(error)
            return
        finally:
            self._moving.discard(job)
        if stored:
            self._jobs.settled(job, Acknowledge(), told=job.delivery.ack())
            move.then()
        else:
            self._jobs.settled(job, move, told=False)
        self._changed()

    def _relocated(
        self, job: Job[Delivery], place: Destination, message: Message, answer: asyncio.Future[None]
    ) -> None:
        self._tasks.discard(answer)
        if self._finished and answer.cancelled():
            return
        if answer.cancelled() or answer.exception() is not None:
            self.spawn(self._relocate(job, place, message))
        else:
            self._jobs.settled(job, Acknowledge(), told=job.delivery.ack())
            self._release_when_written(message.token)

    async def _relocate(self, job: Job[Delivery], place: Destination, message: Message) -> None:
        """The long way, with all that can stand in it."""
        try:
            stored = await self._store(job, place, message)
        except RqtoolError as error:
            stored = False
            self._fail(error)
        if stored:
            self._jobs.settled(job, Acknowledge(), told=job.delivery.ack())
        else:
            job.delivery.requeue()
            self._jobs.dropped(job)
        self._release_when_written(message.token)

    def _release_when_written(self, token: str) -> None:
        if not self._acknowledged:
            asyncio.get_running_loop().call_soon(self._release)  # behind the writing of the acks
        self._acknowledged.append(token)

    def _release(self) -> None:
        self._relocating.difference_update(self._acknowledged)
        self._acknowledged.clear()
        self._changed()

    async def _store(self, job: Job[Delivery], place: Destination, message: Message) -> bool:
        """Have the copy confirmed, for as long as that takes and the original is ours. Returns whether it is.

        Raises AccessRefused, UnsafeQueue where no further try would mend it.
        """
        tries = 0
        try:
            while job.delivery.live:
                try:
                    self.moved = True
                    await self._courier.deliver(place, message)
                    return True
                except (Lost, NotTaken, Unreachable) as problem:
                    self._in_trouble(job, place, problem)
                tries += 1
                await asyncio.sleep(pause(tries))
            return False
        finally:
            self._out_of_trouble(job)

    def _in_trouble(self, job: Job[Delivery], place: Destination, problem: Exception) -> None:
        if not self._troubled:
            what = problem.what if isinstance(problem, RqtoolError) else str(problem)
            self._say(f"a task can't be stored in {place.name!r}: {what}; it is kept, and tried again")
        self._troubled.add(job)

    def _out_of_trouble(self, job: Job[Delivery]) -> None:
        if job in self._troubled:
            self._troubled.discard(job)
            self._changed()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._changed()
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self._fail(error)

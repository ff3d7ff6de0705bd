"""`rqtool work`: deliver → run → settle. An ack only after the work; heartbeats go on whatever the work does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Protocol

from rqtool.broker.connection import CLOSE_SECONDS, Connection, Lost, connect, keep_trying, refuse
from rqtool.broker.consumer import Consumer, Delivery
from rqtool.broker.queues import ensure_queue
from rqtool.drain import Drain
from rqtool.errors import RqtoolError, Stopped, UnsafeQueue, UsageError
from rqtool.handlers import CannotRun, Done, Failed, Handler, Outcome, Task
from rqtool.jobs import Job, Jobs
from rqtool.management import Management
from rqtool.options import WorkOptions
from rqtool.signals import Signals
from rqtool.text import plural
from rqtool.urls import BrokerURL

FAILURE_PAUSE = 1.0
"""Seconds that a failed task is kept before it goes back to the queue, so that it can't spin."""
DRAIN_POLL = 0.5


class Listener(Protocol):
    """Is told of each task; called on the event loop, in order."""

    def received(self, task: Task) -> None: ...

    def done(self, task: Task) -> None: ...

    def failed(self, task: Task, why: str) -> None: ...


class Working:
    """One worker. `say` gets lines for people; `api` counts what other workers hold."""

    def __init__(
        self,
        urls: tuple[BrokerURL, ...],
        options: WorkOptions,
        handler: Handler,
        listener: Listener,
        *,
        say: Callable[[str], None],
        api: Management,
    ) -> None:
        self._urls = urls
        self._options = options
        self._handler = handler
        self._listener = listener
        self._say = say
        self._drain = Drain(api, urls[0].vhost, options.queue, say)
        self._jobs: Jobs[Delivery] = Jobs(options.jobs)
        self._started = 0
        self._empty = False
        self._told = False
        self._error: RqtoolError | None = None
        self._fruitless = 0
        self._connection: Connection | None = None
        self._consumer: Consumer | None = None

    async def run(self) -> None:
        """Work until told to stop, until drained, or until `max_tasks`.

        Raises RqtoolError where it can't begin, or can't go on; Stopped after a second signal.
        """
        self._wake = asyncio.Event()
        self._pool = ThreadPoolExecutor(self._options.jobs, thread_name_prefix="task")
        watch = asyncio.ensure_future(self._watch_for_the_end()) if self._options.drain else None
        with Signals(self._wake.set) as self._signals:
            try:
                await self._work()
            finally:
                if watch is not None:
                    watch.cancel()
                self._pool.shutdown(wait=False)
        if self._connection is not None:
            await self._connection.close()
        if self._error is not None:
            raise self._error

    async def _work(self) -> None:
        while True:
            if not self._ending and (self._consumer is None or self._consumer.lost.done()):
                await self._open()
            self._wake.clear()
            self._start_jobs()
            if self._ending:
                await self._give_back()
                if not self._jobs.running:
                    return
            if not self._signals.leave:
                await self._wake.wait()
            if self._signals.leave:
                self._handler.kill()
                again = plural(len(self._jobs.running), "unfinished task")
                raise Stopped(self._signals.last, f"stopped by a second signal: the broker delivers {again} again")

    @property
    def _ending(self) -> bool:
        return self._signals.finish or self._enough or self._empty or self._error is not None

    @property
    def _enough(self) -> bool:
        return self._options.max_tasks is not None and self._started >= self._options.max_tasks

    # The connection.

    async def _open(self) -> None:
        """Connect, declare, consume. The first time a failure ends the worker; later it tries for ever."""
        first = self._connection is None
        if self._consumer is not None:
            self._jobs.connection_lost()
            self._say(f"connection lost: {self._consumer.lost.result()}; trying again")
        if self._connection is not None:
            await self._connection.close()

        def on_failure(error: RqtoolError) -> None:
            if first:
                raise error

        opening = keep_trying(self._open_once, on_failure, self._fruitless)
        self._fruitless += 1
        try:
            await self._signals.interrupt(opening, lambda: self._signals.finish)
        except UnsafeQueue as error:
            if first:
                raise
            self._error = error

    async def _open_once(self) -> None:
        options = self._options
        connection = await connect(self._urls, "work")
        try:
            await ensure_queue(connection, options.queue, options.kind)
            prefetch = options.prefetch or options.jobs
            most = prefetch if options.max_tasks is None else min(prefetch, options.max_tasks)
            consumer = await Consumer.open(connection, options.queue, most, self._receive)
        except Lost as lost:
            await connection.close()
            refuse(lost, f"tasks of queue {options.queue!r}")
        except BaseException:
            await connection.close()
            raise
        consumer.lost.add_done_callback(lambda _: self._wake.set())
        if self._connection is not None:
            self._say(f"connected again, to {connection.url}")
        self._connection, self._consumer = connection, consumer

    async def _give_back(self) -> None:
        """Ask for no more, and return what was not begun. Once."""
        if self._signals.finish and not self._told:
            self._told = True
            running = len(self._jobs.running)
            if running:
                self._say(
                    f"stopping when the work in hand is done ({plural(running, 'task')}); a second signal kills it"
                )
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        # A frozen broker does not answer: neither a second signal nor the end waits for it.
        cancelling = asyncio.wait_for(consumer.cancel(), CLOSE_SECONDS)
        with suppress(TimeoutError):
            await self._signals.interrupt(cancelling, lambda: self._signals.leave)
        for delivery in self._jobs.give_up_waiting():
            delivery.requeue()

    # The tasks.

    def _receive(self, delivery: Delivery) -> None:
        self._fruitless = 0
        if not self._jobs.receive(delivery):
            delivery.ack()
        self._wake.set()

    def _start_jobs(self) -> None:
        while not self._ending and (job := self._jobs.start_next()) is not None:
            self._started += 1
            task = _task(self._options.queue, job.delivery)
            self._tell(self._listener.received, task)
            future = asyncio.get_running_loop().run_in_executor(self._pool, self._handler.run, task)
            future.add_done_callback(partial(self._ran, job, task))

    def _tell(self, listener: Callable[..., None], *what: object) -> None:
        """An output that can't be written (a closed pipe, a full disk) ends the worker, and costs no task."""
        try:
            listener(*what)
        except (OSError, ValueError) as error:
            self._error = self._error or RqtoolError(f"The output can't be written: {error}", "Send it elsewhere")
            self._wake.set()

    def _ran(self, job: Job[Delivery], task: Task, future: asyncio.Future[Outcome]) -> None:
        error = future.exception()
        outcome = Failed(f"internal error: {error!r}") if error is not None else future.result()
        if isinstance(outcome, Failed) and not self._signals.finish:
            self._tell(self._listener.failed, task, outcome.why)
            asyncio.get_running_loop().call_later(FAILURE_PAUSE, self._settle, job, task, outcome)
        else:
            self._settle(job, task, outcome)

    def _settle(self, job: Job[Delivery], task: Task, outcome: Outcome) -> None:
        self._jobs.end(job)
        self._drain.busy()
        if isinstance(outcome, Done):
            self._jobs.done(job, told=job.delivery.ack())
            self._tell(self._listener.done, task)
        else:
            job.delivery.requeue()
        if isinstance(outcome, CannotRun):
            self._error = UsageError(
                f"The command can't be run: {outcome.why}", "The task is back in the queue: correct the command"
            )
        self._wake.set()

    async def _watch_for_the_end(self) -> None:
        """Set `_empty` once the queue is: looked at whenever there is nothing to do here."""
        while True:
            await asyncio.sleep(DRAIN_POLL)
            received, connection = self._jobs.received, self._connection
            if connection is None or connection.lost.done() or not self._jobs.idle:
                continue
            empty = await self._drain.is_empty(connection)
            if empty and self._jobs.idle and self._jobs.received == received:
                self._empty = True
                self._wake.set()
                return


def _task(queue: str, delivery: Delivery) -> Task:
    returned = delivery.headers.get("x-delivery-count")
    before = returned if isinstance(returned, int) else int(delivery.redelivered)
    return Task(
        body=delivery.body,
        queue=queue,
        message_id=delivery.message_id or "",
        attempt=before + 1,
        redelivered=delivery.redelivered,
        headers={name: str(value) for name, value in delivery.headers.items()},
    )

"""`rqtool work`: deliver → run → settle. An ack only after the work; heartbeats go on whatever the work does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from rqtool.attempts import Attempts
from rqtool.broker.connection import CLOSE_SECONDS, Connection, Lost, refuse
from rqtool.broker.consumer import Consumer, Delivery
from rqtool.broker.courier import Courier
from rqtool.broker.opening import connect, keep_trying
from rqtool.broker.queues import ensure_queue
from rqtool.delivered import task_of
from rqtool.drain import Drain
from rqtool.endpoint import Endpoint
from rqtool.errors import RqtoolError, Stopped, UnsafeQueue
from rqtool.handlers.handler import Handler
from rqtool.jobs import Jobs
from rqtool.listener import Listener
from rqtool.management import Management
from rqtool.options import WorkOptions
from rqtool.settling import Settler, WorkerJobs
from rqtool.signals import Signals
from rqtool.suspects import is_worn
from rqtool.text import plural

DRAIN_POLL = 0.5
LAST_SECONDS = 2.0
"""How long a worker that is told to leave at once still takes to put back what it began with a trace."""


class Working:
    """One worker. `say` gets lines for people; `api` counts what other workers hold."""

    def __init__(
        self,
        endpoint: Endpoint,
        options: WorkOptions,
        handler: Handler,
        listener: Listener,
        *,
        say: Callable[[str], None],
        api: Management,
    ) -> None:
        self._endpoint = endpoint
        self._options = options
        self._handler = handler
        self._listener = listener
        self._say = say
        self._drain = Drain(api, endpoint.vhost, options.queue, [delay.name for delay in options.retry_delays], say)
        self._jobs: WorkerJobs = Jobs()
        courier = Courier(endpoint, options.queue, options.kind, "work, retries", say)
        self._settler = Settler(self._jobs, options.jobs, courier, say=say, changed=self._changed, fail=self._fail)
        self._attempts = Attempts(
            options.queue,
            options.jobs,
            options.retry_delays,
            handler,
            listener,
            self._jobs,
            self._settler,
            say=say,
            tell=self._tell,
            fail=self._fail,
            changed=self._changed,
        )
        self._empty = False
        self._told = False
        self._error: RqtoolError | None = None
        self._fruitless = 0
        self._connection: Connection | None = None
        self._consumer: Consumer | None = None

    async def run(self) -> int:
        """Work until told to stop, until drained, or until `max_tasks`. Returns how many tasks ended as dead.

        Raises RqtoolError where it can't begin, or can't go on; Stopped after a second signal.
        """
        self._wake = asyncio.Event()
        watch = asyncio.ensure_future(self._watch_for_the_end()) if self._options.drain else None
        with Signals(self._wake.set, self._options.grace) as self._signals:
            try:
                await self._open_handler()
                await self._work()
            finally:
                if watch is not None:
                    watch.cancel()
                await self._handler.close()
        if self._connection is not None:
            await self._connection.close()
        if self._error is not None:
            raise self._error
        return self._attempts.dead

    async def _open_handler(self) -> None:
        """A module that takes long to import does not make Ctrl-C wait."""
        await self._signals.interrupt(self._handler.open(), lambda: self._signals.finish)
        if self._signals.finish:
            self._handler.kill()

    async def _work(self) -> None:
        while True:
            if not self._ending and (self._consumer is None or self._consumer.lost.done()):
                await self._open()
            self._wake.clear()
            self._begin_jobs()
            if self._ending:
                await self._give_back()
                if self._ending and not self._jobs.running:
                    await self._signals.interrupt(self._settler.finish(CLOSE_SECONDS), lambda: self._signals.leave)
                    return
            if not self._signals.leave:
                await self._wake.wait()
            if self._signals.leave:
                again = plural(len(self._jobs.running), "unfinished task")
                await self._attempts.cut_off(LAST_SECONDS)
                why = "stopped by a second signal" if self._signals.count > 1 else "the time of --grace is over"
                raise Stopped(self._signals.last, f"{why}: the broker delivers {again} again")

    @property
    def _ending(self) -> bool:
        return self._stopping or self._enough or self._empty

    @property
    def _stopping(self) -> bool:
        """Whether what was handed over is not to be begun any more either."""
        return self._signals.finish or self._error is not None

    @property
    def _enough(self) -> bool:
        return self._options.max_tasks is not None and self._attempts.handed_over >= self._options.max_tasks

    def _changed(self) -> None:
        self._drain.busy()
        self._wake.set()

    def _fail(self, error: RqtoolError) -> None:
        """No task is begun any more, and the worker ends with the first error of all."""
        self._error = self._error or error
        self._wake.set()

    def _tell(self, listener: Callable[..., None], *what: object, **more: object) -> None:
        """An output that can't be written (a closed pipe, a full disk) ends the worker, and costs no task."""
        try:
            listener(*what, **more)
        except (OSError, ValueError) as error:
            self._fail(RqtoolError(f"The output can't be written: {error}", "Send it elsewhere"))

    # The connection.

    async def _open(self) -> None:
        """Connect, declare, consume. The first time a failure ends the worker; later it tries for ever."""
        first = self._connection is None
        if self._connection is not None:
            self._attempts.give_back()
            self._jobs.connection_lost()
            # Without a consumer: there was enough to do, and some of it went back.
            lost = self._connection.lost if self._consumer is None else self._consumer.lost
            if lost.done():
                self._tell(self._listener.connection_lost, str(lost.result()))
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
            self._fail(error)

    async def _open_once(self) -> None:
        options = self._options
        connection = await connect(self._endpoint, "work", self._handler.runs)
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
            self._tell(self._listener.connection_back, str(connection.url))
        self._connection, self._consumer = connection, consumer

    async def _give_back(self) -> None:
        """Ask for no more, and return what was not begun. Once."""
        if self._stopping or (self._connection is not None and self._connection.lost.done()):
            self._attempts.give_back()
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
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._attempts.abandon)
        # A frozen broker does not answer: neither a second signal nor the end waits for it.
        cancelling = asyncio.wait_for(consumer.cancel(), CLOSE_SECONDS)
        with suppress(TimeoutError):
            await self._signals.interrupt(cancelling, lambda: self._signals.leave)
        for delivery in self._jobs.give_up_waiting():
            delivery.requeue()

    # The tasks.

    def _receive(self, delivery: Delivery) -> None:
        self._fruitless = 0
        reception = self._jobs.receive(delivery)
        if delivery.redelivered or reception.known:
            task = task_of(self._options.queue, delivery)
            self._tell(self._listener.redelivered, task, in_hand=reception.known)
        if reception.ended is not None:
            self._settler.settle(*reception.ended)
        elif not reception.known and is_worn(delivery):
            self._attempts.renew(self._jobs.take_last())
        self._wake.set()

    def _begin_jobs(self) -> None:
        if not (self._stopping or self._settler.stuck):
            self._attempts.begin_again()
        while not (self._ending or self._settler.stuck or self._consumer is None):
            delivery = self._jobs.first_waiting
            if delivery is None or not self._attempts.has_room(delivery):
                return
            self._attempts.begin(self._jobs.start_next(), self._consumer)

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

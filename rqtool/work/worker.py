"""`rqtool work`: deliver → run → settle. An ack only after the work; heartbeats go on whatever the work does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from rqtool.amqp.connect import keep_trying
from rqtool.amqp.connection import CLOSE_SECONDS
from rqtool.amqp.consumer import Delivery
from rqtool.amqp.republisher import Republisher
from rqtool.amqp.topology import sibling_queues
from rqtool.endpoint.urls import Endpoint
from rqtool.errors import RqtoolError, Stopped, UnsafeQueue
from rqtool.management.api import Management
from rqtool.output import OutputError, unwritable
from rqtool.run.pool import Pool
from rqtool.signals import Signals
from rqtool.text import plural
from rqtool.work.attempts import Attempts
from rqtool.work.drain import Drain
from rqtool.work.intake import Intake
from rqtool.work.isolation import Isolation
from rqtool.work.jobs import Jobs
from rqtool.work.listener import Listener
from rqtool.work.options import MOST_PREFETCH, WorkOptions
from rqtool.work.output import WorkerOutput
from rqtool.work.policies import warn_of_policies
from rqtool.work.prefetch import AdaptivePrefetch, Prefetch
from rqtool.work.settle import Settler, WorkerJobs
from rqtool.work.stall import watch_for_a_stall
from rqtool.work.subscription import Subscription
from rqtool.work.watches import Watches

DRAIN_POLL, LAST_SECONDS = 0.5, 2.0
"""How long a worker that is told to leave at once still takes to put its tasks back."""


class Worker:
    """One worker. `api` counts what other workers hold."""

    def __init__(
        self,
        endpoint: Endpoint,
        options: WorkOptions,
        pool: Pool,
        listener: Listener,
        *,
        output: WorkerOutput,
        api: Management,
    ) -> None:
        self._endpoint = endpoint
        self._options = options
        self._pool = pool
        self._listener = listener
        self._output = output
        self._say = say = output.say
        self._api = api
        delays = [(delay.name, delay.seconds) for delay in options.retry_delays]
        self._queues = [options.queue, *(place.name for place in sibling_queues(options.queue, delays))]
        self._drain = Drain(api, endpoint.vhost, options.queue, [delay.name for delay in options.retry_delays], say)
        self._jobs: WorkerJobs = Jobs()
        lossy = options.accept_loss
        courier = Republisher(endpoint, options.queue, options.kind, "work, retries", say, accept_loss=lossy)
        self._settler = Settler(
            self._jobs, options.jobs, courier, say=output.complain, changed=self._changed, fail=self._fail
        )
        prefetch = Prefetch(options.jobs, options.max_tasks or MOST_PREFETCH)
        self._attempts = Attempts(
            options.queue,
            options.retry_delays,
            pool,
            listener,
            self._jobs,
            self._settler,
            prefetch,
            tell=self._tell,
            fail=self._fail,
            changed=self._changed,
        )
        self._isolation = Isolation(
            self._jobs,
            self._usable_subscription,
            self._attempts.put_back,
            self._attempts.take_suspect,
            self._changed,
        )
        self._adapting = AdaptivePrefetch(
            prefetch,
            options.jobs,
            self._jobs,
            self._usable_subscription,
            self._attempts.give_back_all,
        )
        self._intake = Intake(options.queue, self._jobs, self._attempts, self._settler, listener, self._tell)
        self._empty = False
        self._told: set[str] = set()
        self._error: Exception | None = None
        self._fruitless = 0
        self._subscription: Subscription | None = None
        self._cancelled = False

    async def run(self) -> int:
        """Work until told to stop, until drained, or until `max_tasks`. Returns how many tasks ended as dead.

        Raises RqtoolError where it can't begin, or can't go on; Stopped after a second signal.
        """
        self._wake = asyncio.Event()
        self._output.on_change(self._output_changed)
        with Signals(self._wake.set, self._options.grace) as self._signals:
            watches = Watches(self._fail)
            watches.add(self._isolation.run())
            if self._options.prefetch is None:
                watches.add(self._adapting.run())
            watches.add(
                watch_for_a_stall(self._hungry, lambda: self._jobs.idle, lambda: self._jobs.received, self._say)
            )
            watches.add(warn_of_policies(self._api, self._endpoint.vhost, self._queues, self._say))
            if self._options.drain:
                watches.add(self._watch_for_the_end())
            try:
                await self._open_pool()
                await self._work()
            finally:
                watches.cancel()
                await self._pool.close()
                if self._subscription is not None:
                    await self._subscription.connection.close()
        if self._error is not None:
            raise self._error
        return self._attempts.dead

    async def _open_pool(self) -> None:
        """A module that takes long to import does not make Ctrl-C wait."""
        await self._signals.interrupt(self._pool.open(), lambda: self._signals.finish)
        if self._signals.finish:
            self._pool.kill()

    async def _work(self) -> None:
        while True:
            if not self._ending and (self._subscription is None or self._cancelled or self._subscription.lost.done()):
                await self._open()
            self._wake.clear()
            self._begin_jobs()
            if self._ending:
                await self._give_back()
                if self._ending and not self._jobs.running and not self._output.is_waiting:
                    await self._signals.interrupt(self._settler.finish(CLOSE_SECONDS), lambda: self._signals.leave)
                    if not self._output.is_waiting:
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
        self._isolation.stir()
        self._adapting.stir()
        self._wake.set()

    def _output_changed(self) -> None:
        """What waited was read, or never will be."""
        if self._output.error is not None:
            self._fail(unwritable(self._output.error))
        self._wake.set()

    def _fail(self, error: Exception) -> None:
        """No task is begun any more, and the worker ends with the first error of all."""
        self._error = self._error or error
        self._wake.set()

    def _say_once(self, topic: str, text: str) -> None:
        if topic not in self._told:
            self._told.add(topic)
            self._say(text)

    def _tell(self, listener: Callable[..., None], *what: object, **more: object) -> None:
        """An output that can't be written (a closed pipe, a full disk) ends the worker, and costs no task."""
        try:
            listener(*what, **more)
        except OutputError as error:
            self._fail(unwritable(error))

    # The connection.

    async def _open(self) -> None:
        """Connect, declare, consume. The first time a failure ends the worker; later it tries for ever."""
        before = self._subscription
        if before is not None:
            self._attempts.give_back()
            self._jobs.connection_lost()
            if before.lost.done():  # else there was enough to do, and some of it went back
                self._tell(self._listener.connection_lost, str(before.lost.result()))
            await before.connection.close()

        if self._stopping:
            return

        async def open_once() -> Subscription:
            return await Subscription.open(self._endpoint, self._options, self._pool.spec.runs, self._receive)

        def on_failure(error: RqtoolError) -> None:
            if before is None:
                raise error

        opening = keep_trying(open_once, on_failure, self._fruitless)
        self._fruitless += 1
        try:
            opened = await self._signals.interrupt(opening, lambda: self._signals.finish)
        except UnsafeQueue as error:
            if before is None:
                raise
            self._fail(error)
            return
        if opened is not None:
            self._opened(opened, first=before is None)

    def _opened(self, subscription: Subscription, *, first: bool) -> None:
        self._subscription, self._cancelled = subscription, False
        subscription.lost.add_done_callback(lambda _: self._wake.set())
        if not first:
            self._tell(self._listener.connection_back, str(subscription.connection.url))
        for warning in subscription.warnings:
            self._say_once(warning, warning)

    def _usable_subscription(self) -> Subscription | None:
        return None if self._ending or self._cancelled else self._subscription

    async def _give_back(self) -> None:
        """Ask for no more, and return what was not begun. Once."""
        subscription = self._subscription
        returns = self._stopping or (subscription is not None and subscription.lost.done())
        if returns:
            self._attempts.withdraw()
        if self._signals.finish and self._jobs.running:
            running = plural(len(self._jobs.running), "task")
            self._say_once("stop", f"stopping when the work in hand is done ({running}); a second signal kills it")
        if subscription is not None and not self._cancelled:
            self._cancelled = True
            # A frozen broker does not answer: neither a second signal nor the end waits for it.
            pausing = asyncio.wait_for(subscription.stop(), CLOSE_SECONDS)
            with suppress(TimeoutError):
                await self._signals.interrupt(pausing, lambda: self._signals.leave)
            for delivery in self._jobs.give_up_waiting():
                self._attempts.put_back(delivery)
        if returns:
            self._attempts.give_back()  # now that what is put back is not delivered to us again

    # The tasks.

    def _hungry(self) -> Subscription | None:
        """The subscription of a worker that could begin a task, and has none."""
        hungry = self._intake.is_hungry and not (self._isolation.on or self._output.is_waiting)
        return self._usable_subscription() if hungry else None

    def _receive(self, delivery: Delivery) -> None:
        self._fruitless = 0
        self._intake.receive(delivery)
        self._wake.set()

    def _begin_jobs(self) -> None:
        if self._output.is_waiting:
            self._attempts.withdraw()  # nobody would see what it prints
            return
        if not (self._stopping or self._settler.stuck):
            self._attempts.begin_again()
        while (subscription := self._usable_subscription()) and not self._isolation.on and not self._settler.stuck:
            if not self._intake.begin_next(subscription):
                return

    async def _watch_for_the_end(self) -> None:
        """Set `_empty` once the queue is: looked at whenever there is nothing to do here."""
        while True:
            await asyncio.sleep(DRAIN_POLL)
            received, subscription = self._jobs.received, self._subscription
            if subscription is None or subscription.lost.done() or not self._jobs.idle:
                continue
            empty = await self._drain.is_empty(subscription.connection, moved=self._settler.moved)
            if empty and self._jobs.idle and self._jobs.received == received:
                self._empty = True
                self._wake.set()
                return

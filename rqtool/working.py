"""`rqtool work`: deliver → run → settle. An ack only after the work; heartbeats go on whatever the work does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from rqtool.attempts import Attempts
from rqtool.broker.connection import CLOSE_SECONDS
from rqtool.broker.consumer import Delivery
from rqtool.broker.courier import Courier
from rqtool.broker.opening import keep_trying
from rqtool.broker.topology import places_beside
from rqtool.delivered import step_of, task_of
from rqtool.drain import Drain
from rqtool.endpoint import Endpoint
from rqtool.errors import RqtoolError, Stopped, UnsafeQueue
from rqtool.handlers.handler import Handler
from rqtool.isolation import Isolation
from rqtool.jobs import Jobs
from rqtool.listener import Listener
from rqtool.management import Management
from rqtool.options import WorkOptions
from rqtool.poison import Step
from rqtool.policies import warn_of_policies
from rqtool.settling import Settler, WorkerJobs
from rqtool.signals import Signals
from rqtool.stall import watch_for_a_stall
from rqtool.subscription import Subscription
from rqtool.text import plural
from rqtool.watches import Watches

DRAIN_POLL, LAST_SECONDS = 0.5, 2.0
"""How long a worker that is told to leave at once still takes to put its tasks back."""


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
        self._api = api
        delays = [(delay.name, delay.seconds) for delay in options.retry_delays]
        self._queues = [options.queue, *(place.name for place in places_beside(options.queue, delays))]
        self._drain = Drain(api, endpoint.vhost, options.queue, [delay.name for delay in options.retry_delays], say)
        self._jobs: WorkerJobs = Jobs()
        courier = Courier(endpoint, options.queue, options.kind, "work, retries", say, accept_loss=options.accept_loss)
        self._settler = Settler(self._jobs, options.jobs, courier, say=say, changed=self._changed, fail=self._fail)
        self._attempts = Attempts(
            options.queue,
            options.retry_delays,
            handler,
            listener,
            self._jobs,
            self._settler,
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
        with Signals(self._wake.set, self._options.grace) as self._signals:
            watches = Watches(self._fail)
            watches.add(self._isolation.run())
            watches.add(
                watch_for_a_stall(self._hungry, lambda: self._jobs.idle, lambda: self._jobs.received, self._say)
            )
            watches.add(warn_of_policies(self._api, self._endpoint.vhost, self._queues, self._say))
            if self._options.drain:
                watches.add(self._watch_for_the_end())
            try:
                await self._open_handler()
                await self._work()
            finally:
                watches.cancel()
                await self._handler.close()
                if self._subscription is not None:
                    await self._subscription.connection.close()
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
            if not self._ending and (self._subscription is None or self._cancelled or self._subscription.lost.done()):
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
        self._isolation.stir()
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
        except (OSError, ValueError) as error:
            self._fail(RqtoolError(f"The output can't be written: {error}", "Send it elsewhere"))

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
            return await Subscription.open(self._endpoint, self._options, self._handler.runs, self._receive)

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
        waiting = self._jobs.ahead or self._jobs.first_waiting
        idle = self._attempts.has_room and not (waiting or self._isolation.on or self._settler.stuck)
        return self._usable_subscription() if idle else None

    def _receive(self, delivery: Delivery) -> None:
        self._fruitless = 0
        queue = self._options.queue
        reception = self._jobs.receive(delivery)
        if reception.known or (delivery.redelivered and delivery.queue == queue):
            self._tell(self._listener.redelivered, task_of(queue, delivery), in_hand=reception.known)
        if reception.ended is not None:
            self._settler.settle(*reception.ended)
        elif not reception.known:
            if step_of(queue, delivery) is Step.TO_QUARANTINE:
                self._attempts.isolate(delivery)
            else:
                self._jobs.wait(delivery, ahead=delivery.queue != queue)
        self._wake.set()

    def _begin_jobs(self) -> None:
        if not (self._stopping or self._settler.stuck):
            self._attempts.begin_again()
        while self._usable_subscription() is not None and not self._isolation.on and not self._settler.stuck:
            if not self._begin_one():
                return

    def _begin_one(self) -> bool:
        """Begin the next task, or move it to where it is taken ahead of all. Returns whether there was one."""
        subscription, first = self._subscription, self._jobs.first_waiting
        flagged = (
            first is not None
            and subscription is not None
            and subscription.counts_returns
            and step_of(self._options.queue, first) is Step.TO_RETURNED
        )
        if flagged and self._settler.relocating + self._jobs.ahead < self._options.most_unacknowledged:
            self._attempts.move_to_returned(self._jobs.take_first())
            return True
        ahead = self._jobs.first_ahead
        ready = not self._settler.is_relocating(ahead) if ahead is not None else first is not None and not flagged
        if not (ready and self._attempts.has_room):
            return False
        self._attempts.begin(self._jobs.start_next())
        return True

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

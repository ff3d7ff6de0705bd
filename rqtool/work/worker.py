"""`rqtool work`: deliver → run → settle. Acks only after the work; heartbeats continue whatever the work does."""

from __future__ import annotations

import asyncio
import sys
import time
from functools import partial

from rqtool.amqp.connection import CLOSE_SECONDS
from rqtool.amqp.republisher import Republisher
from rqtool.endpoint.urls import Endpoint
from rqtool.errors import Stopped
from rqtool.management.api import Management
from rqtool.management.policies import warn_of_policies
from rqtool.run.encoding import PRETENDED
from rqtool.run.pool import Pool
from rqtool.text import plural
from rqtool.work.adaptive_prefetch import AdaptivePrefetch
from rqtool.work.consumer_watch import watch_consumers
from rqtool.work.dispatch import Dispatcher
from rqtool.work.drain import Drain
from rqtool.work.jobs import Jobs
from rqtool.work.lifecycle import Lifecycle
from rqtool.work.options import WorkOptions
from rqtool.work.quarantine import Quarantine
from rqtool.work.report.events import Events
from rqtool.work.report.progress import Progress
from rqtool.work.report.tally import Tally
from rqtool.work.service_manager import report_health
from rqtool.work.session import Session
from rqtool.work.settle import Settler
from rqtool.work.subscription import Subscription

LAST_SECONDS = 2.0
"""How long a worker that must stop at once may take to put its tasks back."""
_WAITING = "waiting for tasks in {!r}; Ctrl-C stops after the current task, a second one at once"
_PRETENDING = "no command: pretending, one second for each dot in a task, and acknowledging it"


class Worker:
    """One worker. `api` counts what other workers hold."""

    def __init__(self, endpoint: Endpoint, options: WorkOptions, pool: Pool, events: Events, api: Management) -> None:
        self._endpoint = endpoint
        self._options = options
        self._pool = pool
        self._events = events
        self._api = api
        self._lifecycle = lifecycle = Lifecycle(options.grace)
        self._jobs = jobs = Jobs(options.queue, options.max_tasks)
        republisher = Republisher(endpoint, options.queue, options.kind, "work, retries", events.say)
        self._settler = Settler(options, jobs, republisher, events, lifecycle)
        self._dispatcher = Dispatcher(options, jobs, pool, self._settler, events, lifecycle)
        receive, runs = self._dispatcher.receive, pool.spec.runs
        subscribe = partial(Subscription.open, endpoint, options, runs, receive, republisher)
        self._session = Session(subscribe, jobs, events, lifecycle)

    async def run(self) -> Tally:
        """Work until a signal, until drained, or until `max_tasks`. Returns what was done. Raises RqtoolError if it
        can't begin or go on; Stopped after a second signal.
        """
        began = time.monotonic()
        self._events.out.on_change(self._output_changed)
        asyncio.get_running_loop().set_exception_handler(self._lifecycle.uncaught)
        with self._lifecycle.signals as signals:
            self._start_the_rest()
            try:
                # A module that takes long to import does not delay Ctrl-C.
                await signals.interrupt(self._pool.open(), lambda: self._lifecycle.stopping)
                if self._lifecycle.stopping:
                    self._pool.kill()
                await self._work()
            finally:
                self._lifecycle.cancel()
                await self._pool.close()
                if self._session.subscription is not None:
                    await self._session.subscription.connection.close()
                    if self._events.out.error is None:  # else its reader is gone, and only the error matters
                        line = self._settler.tally.line(time.monotonic() - began)
                        early = self._options.drain and signals.finish
                        self._events.say(f"{line}; stopped before the queue was drained" if early else line)
        if self._lifecycle.error is not None:
            raise self._lifecycle.error
        return self._settler.tally

    def _start_the_rest(self) -> None:
        """Start the coroutines beside the loop."""
        options, vhost, start = self._options, self._endpoint.vhost, self._lifecycle.start
        start(report_health(options.health_file, self._session, self._jobs, self._lifecycle))
        start(Quarantine(self._api, self._jobs, self._session, self._dispatcher, self._lifecycle).run())
        if options.prefetch is None:
            start(AdaptivePrefetch(self._jobs, self._session, self._dispatcher, self._lifecycle).run())
        if options.bar:
            progress = Progress(self._session, self._jobs, self._dispatcher, self._settler.tally, self._events.out)
            start(progress.ask())
            start(progress.draw())
        start(watch_consumers(self._session, self._jobs, self._dispatcher, self._events))
        queues = [options.queue, *(place.name for place in options.places)]
        start(warn_of_policies(self._endpoint, queues, self._events.say_once))
        if options.drain:
            start(Drain(self._api, vhost, options, self._jobs, self._events).run(self._session, self._lifecycle))

    async def _work(self) -> None:
        signals, session, out = self._lifecycle.signals, self._session, self._events.out
        while True:
            if not (session.ending or session.is_open):
                self._dispatcher.return_withdrawn()
                await session.open()
                if session.is_open and sys.stderr.isatty():
                    self._events.say_once(_WAITING.format(self._options.queue), topic="waiting")
            seen = self._lifecycle.changes
            self._dispatcher.begin_jobs(session)
            if self._jobs.at_work and self._pool.spec.what == [PRETENDED] and out.error is None:
                self._events.say_once(_PRETENDING)
            if session.ending:
                await self._wind_down()
                if session.ending and not self._jobs.at_work and not out.is_waiting:
                    await signals.interrupt(self._settler.finish(CLOSE_SECONDS), lambda: signals.leave)
                    if not out.is_waiting:
                        return
            if not (signals.leave or self._lifecycle.is_broken):
                await self._lifecycle.change(seen)
            if self._lifecycle.is_broken:
                await self._dispatcher.cut_off(LAST_SECONDS)
                return
            if signals.leave:
                again = plural(self._jobs.at_work, "unfinished task")
                await self._dispatcher.cut_off(LAST_SECONDS)
                why = "stopped by a second signal" if signals.count > 1 else "the time of --grace is over"
                raise Stopped(signals.last, f"{why}: the broker delivers {again} again")

    async def _wind_down(self) -> None:
        """Ask for no more tasks, and give back those that have not begun."""
        gives_back_all = self._lifecycle.stopping or self._session.lost
        if gives_back_all:
            self._pool.withdraw()
        if self._lifecycle.signals.finish:
            self._pool.stop()
            if self._jobs.at_work:
                running = plural(self._jobs.at_work, "task")
                text = f"stopping when the work in hand is done ({running}); a second signal kills it"
                self._events.say_once(text, topic="stopping")
        await self._session.stop()  # first of all, so that returned tasks are not delivered to us again
        self._dispatcher.return_waiting()
        if gives_back_all:
            self._dispatcher.return_withdrawn()

    def _output_changed(self) -> None:
        if (error := self._events.out.error) is not None:
            self._lifecycle.fail(error)
        self._lifecycle.changed()  # first, so that tasks begin while there is room
        self._pool.output_changed()

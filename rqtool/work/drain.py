"""When a queue is truly empty: nothing ready, nothing unacknowledged on any worker, nothing waiting for a retry or due
soon.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from functools import partial

from rqtool.amqp.connection import Connection
from rqtool.amqp.declare import count_ready, look
from rqtool.amqp.errors import Lost
from rqtool.errors import AccessRefused, Unreachable
from rqtool.management.api import Management
from rqtool.management.in_thread import in_thread
from rqtool.management.policies import warn_now
from rqtool.management.queue import Queue
from rqtool.text import plural
from rqtool.topology import ON_THEIR_WAY, dead, kind_beside, quarantine, returned, spare
from rqtool.work.jobs import Jobs
from rqtool.work.lifecycle import Lifecycle
from rqtool.work.options import WorkOptions
from rqtool.work.report.events import Events
from rqtool.work.session import Session

LAG = 6.0
"""Seconds without any sign of tasks, if others may hold tasks of a quorum queue: it reports its totals every 5 s."""
MOVING = 2.0
"""The same, if tasks may be moving between queues, invisible for a moment."""
POLL = 0.5
"""Seconds between two looks."""


class Drain:
    """Checks a worker's queue and the wait queues beside it: AMQP tells what is ready, the management API what workers
    hold.
    """

    def __init__(self, api: Management, vhost: str, options: WorkOptions, jobs: Jobs, events: Events) -> None:
        self._api = api
        self._vhost = vhost
        self._queue, self._places = options.queue, options.places
        self._near = max((delay.seconds for delay in options.retry_delays), default=0.0)
        self._jobs = jobs
        self._events = events
        self._empty_since: float | None = None
        self._pause = 0.0
        self._later = 0
        self._saw = self._company = self._movement = False

    async def run(self, session: Session, lifecycle: Lifecycle) -> None:
        """End the worker when nothing is left. Looks whenever this worker has nothing to do."""
        seen, subscription = -1, session.subscription
        while True:
            await asyncio.sleep(POLL)
            if (self._jobs.received, session.subscription) != (seen, subscription):
                self._empty_since = None  # earlier observations are out of date
            seen, subscription = self._jobs.received, session.subscription
            if subscription is None or subscription.lost.done() or not self._jobs.idle:
                continue
            self._movement |= self._jobs.has_moved_some
            empty = await self._is_empty(subscription.connection)
            now = time.monotonic()  # after the check, which may have taken long
            self._empty_since = (self._empty_since or now) if empty else None
            surely = self._empty_since is not None and now - self._empty_since >= self._pause
            if surely and self._jobs.idle and self._jobs.received == seen:
                if self._later:
                    verb = "is" if self._later == 1 else "are"
                    self._events.say(f"{plural(self._later, 'task')} of {self._queue!r} {verb} delayed for longer")
                lifecycle.drained()
                return

    async def _is_empty(self, connection: Connection) -> bool:
        """Whether nothing is left. Without the management API, it relies on what it can see, and says so."""
        try:
            return await self._nothing_there(connection)
        except (Unreachable, AccessRefused) as error:
            text = f"{error.what}; waiting until it can be seen again what other workers hold"
            self._events.say_once(text, topic="drain: blind")
        except Lost:
            pass  # the worker opens another connection
        return False

    async def _nothing_there(self, connection: Connection) -> bool:
        # A task goes from ready to held, from there to a queue beside, and back to ready: checking in this order, and
        # twice, misses none.
        if await count_ready(connection, self._queue):
            return False
        # A worker that runs a suspect, or is ending, consumes nothing; but a quorum queue immediately counts clients
        # that hold its messages as consumers.
        for queue, ours in ((self._queue, 1), (returned(self._queue).name, 1), (quarantine(self._queue).name, 0)):
            _, consumers = await look(connection, queue) or (0, 0)
            self._company |= consumers > ours
        beside, held = await self._ask()
        later = 0
        for name, figures in beside.items():
            ready, _ = await look(connection, name) or (0, 0)
            count = ready if figures is None else ready + figures.leaving
            is_delay = kind_beside(self._queue, name) == "delay"
            if is_delay and figures is not None and (figures.ttl or 0) > self._near:
                later += count  # these wait for longer than a failed task
            elif count:
                self._movement = True
                what = "sent for later" if is_delay else "to be tried again"
                self._events.say_once(f"waiting for {plural(count, 'task')} {what}", topic=f"drain: {what}")
                return False
        self._later = later
        if held:
            self._movement = True
            self._events.say_once(f"waiting for {plural(held, 'task')} that other workers hold", topic="drain: held")
            return False
        return await count_ready(connection, self._queue) == 0

    async def _ask(self) -> tuple[Mapping[str, Queue | None], int]:
        """Return the queues beside NAME, by name, and how many tasks workers hold, as far as that is visible. Raises
        Unreachable or AccessRefused if it was visible before.
        """
        try:
            found = await in_thread(partial(self._api.queues, self._vhost, [self._queue]))
            problem = f"The management API does not know queue {self._queue!r}"
        except (Unreachable, AccessRefused) as error:
            if self._saw:
                raise
            found, problem = [], error.what
        main = next((queue for queue in found if queue.name == self._queue), None)
        if main is None or main.messages_unacknowledged is None:
            self._events.say_once(
                f"{problem}. Tasks that other workers hold can't be seen, nor retries with other delays: "
                "going by what is ready, and by this worker's own delays",
                topic="drain: no API",
            )
            self._pause = MOVING
            places = [place for place in self._places if place != dead(self._queue)]
            spares = [spare(place) for place in places if place.wait is not None]
            return dict.fromkeys(place.name for place in (*places, *spares)), 0
        if not self._saw:  # a short run is over before the first check
            await warn_now(self._api, self._vhost, [self._queue], self._events.say_once)
        self._saw = True
        beside = {each.name: each for each in found if kind_beside(self._queue, each.name) in ON_THEIR_WAY}
        # Only what this worker took from the queues beside is known.
        lagging = any(queue.type != "classic" for queue in (main, *(beside.values() if self._company else ())))
        self._pause = LAG if lagging else MOVING if beside and self._movement else 0.0
        return beside, sum(queue.messages_unacknowledged or 0 for queue in (main, *beside.values()))

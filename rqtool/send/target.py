"""Where the tasks of a run go: to the queue, or first to its delay queues. Declares them."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress
from dataclasses import replace

from rqtool.amqp.connection import Connection
from rqtool.amqp.declare import DeclaredQueue, ensure_queue, ensure_sibling, is_there
from rqtool.amqp.errors import PRECONDITION_FAILED, Lost, raise_refusal, refusal, temporary_refusal
from rqtool.amqp.new_queues import is_marked_as_new
from rqtool.errors import AccessRefused, UnsafeQueue
from rqtool.send.delay import Binding, Route, bindings, route
from rqtool.send.options import SendOptions

HELD = 6.0
"""Tasks due within so many seconds wait here, and not in delay queues, which may be too new until then."""
AHEAD = 12
"""With --at, every second needs other delay queues: declare them for so many seconds in advance, or for more where it
takes long.
"""


class GaveUp(Exception):
    """No more attempts; the text says why."""


class QueueGone(GaveUp):
    """A queue was deleted, with confirmed tasks in it. A new one would be empty, but they would count as sent."""

    def __init__(self, queue: str) -> None:
        super().__init__(f"queue {queue!r} is gone, and its confirmed tasks with it")


def why_refused(lost: Lost, queue: str, *, confirmed: bool) -> GaveUp | AccessRefused | None:
    """Why sending again would fail again; None if it may succeed. `confirmed`: some tasks are confirmed."""
    error = refusal(lost.code, lost.text, f"tasks for queue {queue!r}")
    if isinstance(error, AccessRefused):
        return GaveUp(error.what) if confirmed else error
    return GaveUp(f"the broker refuses a task: {lost.text}") if lost.code == PRECONDITION_FAILED else None


class Target:
    """The queue and the delay queues of a run, as far as they are declared on the current connection."""

    def __init__(self, options: SendOptions) -> None:
        self._options = options
        self._routes: dict[int, Route] = {}
        self._declaring_took = 0.0
        """Seconds, the last time."""
        self._used: set[str] = set()

    async def declare(self, connection: Connection, *, again: bool) -> DeclaredQueue:
        """Make sure that the queues exist, on a new connection; `again`: with confirmed tasks in them.

        Raises QueueGone, AccessRefused, UnsafeQueue, Lost.
        """
        options = self._options
        if again and (gone := await self.gone(connection)):
            raise QueueGone(gone)
        tx = options.guarantee == "tx"
        found = await ensure_queue(connection, options.queue, options.kind, accept_loss=options.accept_loss, commits=tx)
        new = await self._declare_delays(connection) or found.new
        with suppress(Lost):  # the publisher will notice
            new = new or await is_marked_as_new(connection, options.queue)
        return replace(found, new=new)

    async def gone(self, connection: Connection) -> str:
        """The queue of this run that was deleted; empty: none. Raises Lost if the node of one is down."""
        for name in (self._options.queue, *self._used):
            if not await is_there(connection, name):
                return name
        return ""

    @property
    def route(self) -> Route | None:
        """The route of a task that is published now; None: `prepare` one."""
        seconds = math.ceil(self._seconds)
        if 0 < seconds <= HELD and self._options.at is not None:
            return None
        found = self._routes.get(seconds) if seconds else Route(self._options.queue)
        if found is not None:
            self._used.update(queue.name for queue in found.queues)
        return found

    async def prepare(self, connection: Connection) -> bool | None:
        """Declare the delay queues of the task that is published next, and return whether one is new. If it is due
        soon, wait for that and return None. Raises as `declare`.
        """
        if self._seconds > HELD:
            return await self._declare_delays(connection)
        await asyncio.sleep(self._seconds)
        return None

    @property
    def _seconds(self) -> float:
        """How long a task that is published now has to wait."""
        at = self._options.at
        return self._options.delay if at is None else max(0.0, at - time.time())

    async def _declare_delays(self, connection: Connection) -> bool:
        """Returns whether a queue is new."""
        began, longest, at = time.monotonic(), math.ceil(self._seconds), self._options.at
        ahead = AHEAD + math.ceil(2 * self._declaring_took)
        wanted = [longest] if at is None else [s for s in range(longest, longest - ahead, -1) if s > HELD]
        home = self._options.queue
        routes = {seconds: route(home, seconds) for seconds in wanted if seconds}
        queues = {queue.name: queue for each in routes.values() for queue in each.queues}
        steps = dict.fromkeys(step for seconds in routes for step in bindings(home, seconds))

        async def declare(step: Binding) -> bool:
            made = await ensure_sibling(connection, queues[step.target], None)
            await _bind(connection, step, is_queue=True)
            return made.new

        # At once: one after the other, on a slow line, takes longer than the time for which they are declared. But the
        # exchanges first: a queue whose dead-letter exchange is missing says so in the broker's log.
        await asyncio.gather(*(_bind(connection, step, is_queue=False) for step in steps if step.target not in queues))
        new = await asyncio.gather(*(declare(step) for step in steps if step.target in queues))
        self._routes, self._declaring_took = routes, time.monotonic() - began
        return any(new)


async def _bind(connection: Connection, binding: Binding, *, is_queue: bool) -> None:
    """Raises AccessRefused, UnsafeQueue, Lost."""
    try:
        await connection.bind(binding.source, binding.pattern, binding.target, is_queue=is_queue)
    except Lost as lost:
        if lost.code == PRECONDITION_FAILED and not temporary_refusal(lost.text):
            raise UnsafeQueue(
                f"The broker refused to declare exchange {binding.source!r}: {lost.text}",
                "Delete it; rqtool creates it again",
            ) from None
        raise_refusal(lost, f"exchange {binding.source!r}")

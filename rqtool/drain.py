"""When a queue is truly empty: nothing ready, nothing unacknowledged on any worker, nothing waiting for a retry."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from rqtool.broker.connection import Connection, Lost
from rqtool.broker.queues import count_ready
from rqtool.broker.topology import waiting
from rqtool.errors import AccessRefused, Unreachable
from rqtool.figures import Queue
from rqtool.management import Management
from rqtool.text import plural

LAG = 6.0
"""Seconds by which the totals of a quorum queue can be late: it reports them every 5 s."""
MOVING = 2.0
"""Seconds that have to pass between two looks where there are wait queues: between them a task may go unseen from one
queue to the other."""
_NOT_FOUND = 404


class Drain:
    """Asks about one queue and the wait queues beside it: live for what is ready, through the management API for what
    workers hold. `delays` names the wait queues of this worker, for where the API is out of reach.
    """

    def __init__(
        self, api: Management, vhost: str, queue: str, delays: Sequence[str], say: Callable[[str], None]
    ) -> None:
        self._api = api
        self._vhost = vhost
        self._queue = queue
        self._delays = delays
        self._say = say
        self._empty_since: float | None = None
        self._pause = 0.0
        self._told: set[str] = set()
        self._saw = False

    def busy(self) -> None:
        """This worker had something to do: what was seen before is out of date."""
        self._empty_since = None

    async def is_empty(self, connection: Connection) -> bool:
        """Whether nothing is left, for sure. Without the management API it goes by what it can see, and says so."""
        try:
            nothing_there = await self._nothing_there(connection)
        except Lost:
            nothing_there = False
        except (Unreachable, AccessRefused) as error:
            self._say_once("blind", f"{error.what}; waiting until it can be seen again what other workers hold")
            nothing_there = False
        if not nothing_there:
            self._empty_since = None
            return False
        if self._empty_since is None:
            self._empty_since = time.monotonic()
        return time.monotonic() - self._empty_since >= self._pause

    async def _nothing_there(self, connection: Connection) -> bool:
        # A task goes from ready to held, from held to a wait queue, and from there to ready: looked at in this order,
        # and twice, it does not slip through.
        if await count_ready(connection, self._queue):
            return False
        siblings, held = await self._ask()
        for name, leaving in siblings.items():
            if count := await _count(connection, name) + leaving:
                self._say_once("retry", f"waiting for {plural(count, 'task')} to be tried again")
                return False
        if held:
            self._say_once("held", f"waiting for {plural(held, 'task')} that other workers hold")
            return False
        return await count_ready(connection, self._queue) == 0

    async def _ask(self) -> tuple[dict[str, int], int]:
        """The wait queues, each with how many tasks are on their way home from it, and how many tasks workers hold, as
        far as that can be seen. Raises Unreachable, AccessRefused where it could be seen before.
        """
        name = re.escape(self._queue)
        try:
            queues = await _in_thread(partial(self._api.matching, self._vhost, rf"{name}(\.retry\..+)?"))
            problem = "" if self._knows(queues) else f"The management API does not know queue {self._queue!r}"
        except (Unreachable, AccessRefused) as error:
            if self._saw:
                raise
            queues, problem = [], error.what
        if problem:
            self._say_once(
                "api", f"{problem}. Tasks that other workers hold can't be seen, nor retries with other delays: "
                "going by what is ready, and by this worker's own delays"
            )  # fmt: skip
            names = [waiting(self._queue, delay, 0).name for delay in self._delays]
            self._pause = MOVING
            return dict.fromkeys(names, 0), 0
        self._saw = True
        siblings = {queue.name: queue.leaving for queue in queues if queue.name != self._queue}
        self._pause = LAG if any(q.type != "classic" for q in queues) else MOVING if siblings else 0.0
        return siblings, sum(queue.messages_unacknowledged or 0 for queue in queues)

    def _knows(self, queues: Sequence[Queue]) -> bool:
        return any(q.name == self._queue and q.messages_unacknowledged is not None for q in queues)

    def _say_once(self, kind: str, text: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            self._say(text)


async def _in_thread(ask: Callable[[], list[Queue]]) -> list[Queue]:
    """In a daemon thread: an API that never answers must not keep a worker that is told to leave."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[Queue]] = loop.create_future()

    def tell(found: list[Queue], error: Exception | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(found)
        else:
            answer.set_exception(error)

    def run() -> None:
        found: list[Queue] = []
        problem: Exception | None = None
        try:
            found = ask()
        except Exception as error:  # handed over, whatever it is
            problem = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(tell, found, problem)

    threading.Thread(target=run, name="api", daemon=True).start()
    return await answer


async def _count(connection: Connection, queue: str) -> int:
    try:
        return await count_ready(connection, queue)
    except Lost as lost:
        if lost.code != _NOT_FOUND:
            raise
        return 0

"""When a queue is truly empty: nothing ready, and nothing unacknowledged on any worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from rqtool.broker.connection import Connection, Lost
from rqtool.broker.queues import count_ready
from rqtool.errors import AccessRefused, Unreachable
from rqtool.management import Management
from rqtool.text import plural

LAG = 6.0
"""Seconds by which the totals of a quorum queue can be late: it reports them every 5 s."""


class Drain:
    """Asks about one queue, live for what is ready, through the management API for what workers hold."""

    def __init__(self, api: Management, vhost: str, queue: str, say: Callable[[str], None]) -> None:
        self._api = api
        self._vhost = vhost
        self._queue = queue
        self._say = say
        self._empty_since: float | None = None
        self._live = True
        self._told: set[str] = set()

    def busy(self) -> None:
        """This worker had something to do: what was seen before is out of date."""
        self._empty_since = None

    async def is_empty(self, connection: Connection) -> bool:
        """Whether nothing is left, for sure. Without the management API only what is ready is seen, and it says so."""
        try:
            nothing_there = await count_ready(connection, self._queue) == 0 and await self._nobody_holds_any()
        except Lost:
            nothing_there = False
        if not nothing_there:
            self._empty_since = None
            return False
        if self._empty_since is None:
            self._empty_since = time.monotonic()
        return self._live or time.monotonic() - self._empty_since >= LAG

    async def _nobody_holds_any(self) -> bool:
        try:
            queue = await asyncio.to_thread(self._api.queue, self._vhost, self._queue)
        except (Unreachable, AccessRefused) as error:
            self._say_once(f"{error.what}. Tasks that other workers hold can't be seen: going by what is ready")
            self._live = True
            return True
        if queue is None or queue.messages_unacknowledged is None:
            self._say_once(f"The management API does not know queue {self._queue!r}: going by what is ready")
            self._live = True
            return True
        self._live = queue.type == "classic"
        if queue.messages_unacknowledged:
            self._say_once(f"waiting for {plural(queue.messages_unacknowledged, 'task')} that other workers hold")
        return not (queue.messages_ready or queue.messages_unacknowledged)

    def _say_once(self, text: str) -> None:
        kind = text.split(" ", 1)[0]
        if kind not in self._told:
            self._told.add(kind)
            self._say(text)

"""Whether a worker goes on: signals, errors, and coroutines beside its loop, whose errors are never silent."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from rqtool.signals import Signals


class Lifecycle:
    """Runs coroutines beside the worker's loop, and knows whether the worker goes on. `grace`: see Signals.

    `error`: the first one, whether a coroutine raised it, a callback on the event loop, or a caller of `fail` found it.
    """

    def __init__(self, grace: float | None) -> None:
        self.signals = Signals(self.changed, grace)
        self.error: Exception | None = None
        self.is_broken = False
        """Whether the error was uncaught on the event loop: a job may never end, so none is waited for."""
        self.changes = 0
        self._drained = False
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def stopping(self) -> bool:
        """Whether nothing may begin any more, not even tasks that were handed over to the pool."""
        return self.signals.finish or self.error is not None or self._drained

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run it until it ends, or until `cancel`."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def fail(self, error: Exception) -> None:
        """End the worker with this error when the running tasks are done, unless there was an earlier error."""
        self.error = self.error or error
        self.signals.look_again()
        self.changed()

    def drained(self) -> None:
        """End the worker: there is nothing left to do."""
        self._drained = True
        self.changed()

    def changed(self) -> None:
        """Wake everything that waits for a change."""
        self.changes += 1
        self._changed.set()

    async def change(self, since: int | None = None) -> None:
        """Wait for the next change, or the next one after `changes` was `since`."""
        since = self.changes if since is None else since
        while self.changes == since:
            self._changed.clear()
            await self._changed.wait()

    def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self.fail(error)

    def uncaught(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle an exception that nobody caught on the event loop: the worker ends at once."""
        error = context.get("exception")
        if isinstance(error, Exception):
            self.is_broken = True
            self.fail(error)
        else:
            loop.default_exception_handler(context)

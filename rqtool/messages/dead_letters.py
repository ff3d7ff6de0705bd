"""`rqtool dead`: tasks that were given up are looked at, put back into their queue, or deleted."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial

from rqtool.amqp.connect import connect
from rqtool.amqp.connection import Connection, either
from rqtool.amqp.consumer import Delivery
from rqtool.amqp.errors import Lost, raise_refusal, unreachable
from rqtool.amqp.headers import as_new
from rqtool.amqp.republisher import NotTaken, Republisher
from rqtool.amqp.topology import at_home, dead_queue
from rqtool.endpoint.urls import Endpoint
from rqtool.errors import RqtoolError, Stopped, Unreachable
from rqtool.messages.browse import Walk
from rqtool.messages.listing import DeadTask, read_dead_task, task_id
from rqtool.signals import Signals
from rqtool.text import plural

LAST_SECONDS = 2.0
"""How long, after a signal, the copies under way may take to be confirmed, and what is kept to be given back."""
GIVING_BACK_SECONDS = 60.0
"""How long the broker may take for what it gets back: some seconds for 200,000 tasks."""
_NOT_FOUND, _CLOSED_IN_ORDER = 404, 200

Settle = Callable[[list[Delivery]], Awaitable[None]]
Confirm = Callable[[int], Awaitable[bool]]
End = Callable[[Walk], Awaitable[None]]


class DeadLetters:
    """The tasks of `queue` that were given up: those with one of `ids` (empty: all), the oldest `limit` of them."""

    def __init__(
        self,
        endpoint: Endpoint,
        queue: str,
        *,
        ids: Sequence[str],
        limit: int | None,
        say: Callable[[str], None],
    ) -> None:
        self._endpoint = endpoint
        self._queue = queue
        self._name = dead_queue(queue)
        self._ids = ids
        self._limit = limit
        self._courier = Republisher(endpoint, queue, None, "dead, retries", say)
        self._found: set[str] = set()
        self._chosen = 0
        self._held = array("Q")
        self._moving = False
        self._handled = 0
        self._doing = ""

    @property
    def missing(self) -> list[str]:
        """The ids that no task has; none is missing where the limit ended the search."""
        return [] if self._full else [wanted for wanted in self._ids if wanted not in self._found]

    async def look(self, show: Callable[[list[DeadTask]], Awaitable[None]]) -> int:
        """Show what there is as it comes, the oldest first, and at the end an empty list. Returns how many.

        It stays where it is, and as it is. All is shown before anything is given back, which can take its time.
        """

        async def read(chosen: list[Delivery]) -> None:
            if chosen:
                await show(
                    [
                        read_dead_task(self._queue, each.message_id, each.properties.timestamp, each.headers, each.body)
                        for each in chosen
                    ]
                )

        async def end(_: Walk) -> None:
            await show([])

        await self._run(read, keeps=True, end=end)
        return self._chosen

    async def retry(self) -> int:
        """Put tasks back into their queue, as if they had never been tried. Returns how many."""
        self._doing = "put back"
        await self._run(self._put_back, keeps=False)
        return self._handled

    async def purge(self, confirm: Confirm | None) -> int:
        """Delete tasks; where there is a `confirm`, exactly those that it was asked about. Returns how many."""
        self._doing = "deleted"
        if confirm is None:
            await self._run(self._delete, keeps=False)
        else:
            await self._run(self._hold, keeps=True, end=partial(self._ask, confirm))
        return self._handled

    async def _run(self, settle: Settle, *, keeps: bool, end: End | None = None) -> None:
        with Signals(lambda: None, LAST_SECONDS) as self._signals:
            try:
                complete = await self._signals.interrupt(
                    self._walk(settle, keeps=keeps, end=end),
                    lambda: self._signals.leave or (self._signals.finish and not self._moving),
                    LAST_SECONDS,
                )
            except NotTaken as refusal:
                what = f"Queue {self._queue!r}: {refusal}{self._so_far()}"
                raise RqtoolError(what, "Mend that and try again") from None
            except Lost as lost:
                error = unreachable(lost)
                raise Unreachable(f"{error.what}{self._so_far()}", error.what_to_do) from None
            except RqtoolError as error:
                raise type(error)(f"{error.what}{self._so_far()}", error.what_to_do) from None
        if not complete:
            raise Stopped(self._signals.last, f"stopped by a signal{self._so_far()}")

    def _so_far(self) -> str:
        if not (self._doing and self._chosen):
            return ""
        return f"; {plural(self._handled, 'task')} {self._doing}, the rest is still in {self._name!r}"

    async def _walk(self, settle: Settle, *, keeps: bool, end: End | None) -> bool:
        """Returns whether it came to its end. Raises RqtoolError, NotTaken, Lost."""
        connection = await connect(self._endpoint, "dead")
        walk = Walk(connection, self._queue)
        try:
            await walk.open(keeps=keeps or bool(self._ids))
            while not self._signals.finish and (not self._full or walk.must_go_on):
                wave = await walk.take(None if self._ids or self._full else self._room)
                if not wave:
                    break
                chosen = [each for each in wave if self._wants(each)][: self._room]
                self._chosen += len(chosen)
                await settle(chosen)
                if walk.lost.done():
                    raise walk.lost.result()
            if end is not None and not self._signals.finish:
                await end(walk)
        except Lost as lost:
            if lost.code == _NOT_FOUND and not self._chosen:  # the queue comes with the first dead task
                if end is not None:
                    await end(walk)
                return True
            raise_refusal(lost, f"tasks of queue {self._name!r}")
        finally:
            await self._end(walk, connection)
        # What was merely looked at is the broker's again in any case.
        if self._doing and not (connection.lost.done() and connection.lost.result().code == _CLOSED_IN_ORDER):
            raise Lost(0, "it went before the broker had read everything, so some tasks may still be there")
        return not self._signals.finish

    async def _end(self, walk: Walk, connection: Connection) -> None:
        """Give back what is kept and close. A signal leaves LAST_SECONDS for it: the broker itself puts back what is
        left, but a quorum queue not always in order.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_SECONDS if self._signals.finish else None):
                await walk.give_back()
                await self._courier.close()
                await connection.close(GIVING_BACK_SECONDS)

    @property
    def _room(self) -> int | None:
        """How many more tasks may be chosen; None: any number."""
        return None if self._limit is None else self._limit - self._chosen

    @property
    def _full(self) -> bool:
        return self._room == 0

    def _wants(self, delivery: Delivery) -> bool:
        if not self._ids:
            return True
        name = task_id(delivery.message_id, delivery.headers)
        if name is None or name not in self._ids:
            return False
        self._found.add(name)
        return True

    async def _put_back(self, chosen: list[Delivery]) -> None:
        self._moving = True
        try:
            results = await asyncio.gather(*map(self._move, chosen), return_exceptions=True)
        finally:
            self._moving = False
        for result in results:
            if result is not None:
                raise result

    async def _move(self, delivery: Delivery) -> None:
        """First the confirmed copy, then the ack: a crash in between makes a duplicate, never a loss."""
        await self._courier.deliver(at_home(self._queue), delivery.copied(as_new(delivery.headers)))
        self._handled += delivery.ack()

    async def _delete(self, chosen: list[Delivery]) -> None:
        for each in chosen:
            self._handled += each.ack()

    async def _hold(self, chosen: list[Delivery]) -> None:
        self._held.extend(each.tag for each in chosen)

    async def _ask(self, confirm: Confirm, walk: Walk) -> None:
        if not self._held:
            return
        answer = asyncio.ensure_future(confirm(len(self._held)))
        try:
            await either(answer, walk.lost)
            if walk.lost.done():
                raise walk.lost.result()
            if answer.result():
                self._handled += walk.settle(self._held)
        finally:
            answer.cancel()

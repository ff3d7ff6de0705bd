"""The tasks in a dead queue: listed, put back into their queue, or deleted."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from rqtool.amqp.connect import connect
from rqtool.amqp.connection import CLOSE_SECONDS, Connection, either
from rqtool.amqp.consumer import Delivery
from rqtool.amqp.declare import is_there
from rqtool.amqp.errors import NOT_FOUND, Lost, raise_refusal, unreachable
from rqtool.amqp.headers import as_new
from rqtool.amqp.republisher import NotTaken, Republisher
from rqtool.endpoint.urls import Endpoint
from rqtool.errors import RqtoolError, Stopped, Unreachable, no_queue
from rqtool.messages.browse import Browser
from rqtool.messages.detail import Detail
from rqtool.messages.filter import ANY, Filter, Ids
from rqtool.messages.listing import DeadTask, read_dead_task, task_id, unix_time
from rqtool.signals import Signals
from rqtool.text import plural
from rqtool.topology import at_home, dead_queue

LAST_SECONDS = 2.0
"""After a signal: for copies to be confirmed, and for messages to be returned."""
RETURN_SECONDS = 60.0
"""For the broker to take messages back: 200,000 need some seconds."""
_CLOSED_IN_ORDER = 200


@dataclass(frozen=True, slots=True)
class Selection:
    """Selects dead tasks of `queue`: those whose ids, or unique prefixes, are in `ids` (empty: all) and that match the
    filter; of these the `limit` oldest (None: all).
    """

    queue: str
    ids: Sequence[str] = ()
    limit: int | None = None
    filter: Filter = ANY

    @property
    def is_some(self) -> bool:
        """Whether other tasks may be read than the selected ones."""
        return bool(self.ids) or self.filter != ANY


class Operation:
    """Goes through the selected tasks, oldest first, counts them, and leaves them in the queue; subclasses do more."""

    returns = True
    """Whether some selected tasks go back to the dead queue."""
    done = ""
    """What was done to the tasks that left the dead queue, for error messages."""

    def __init__(self, endpoint: Endpoint, selection: Selection) -> None:
        self._endpoint = endpoint
        self.queue = selection.queue
        self._name = dead_queue(selection.queue)
        self._selection = selection
        self._ids: Ids[Delivery] = Ids(selection.ids)
        self.ready = 0
        self._selected = 0
        self._handled = 0
        self._moving = False

    async def handle(self, tasks: list[Delivery]) -> None:
        """Do it to the next tasks. Raises RqtoolError, NotTaken, Lost."""
        self._handled += len(tasks)

    async def finish(self, browser: Browser) -> None:
        """Called after the last task, while all unsettled messages are still held."""

    async def close(self) -> None:
        """Close what the operation opened."""

    @property
    def missing(self) -> list[str]:
        """The ids that no task has; empty if the limit ended the search, since then they are unknown."""
        return [] if self._full else self._ids.missing

    @property
    def ambiguous(self) -> dict[str, list[str]]:
        """The beginnings that several ids have, and these ids."""
        return {} if self._full else self._ids.ambiguous

    async def run(self) -> int:
        """Return how many tasks were listed, put back or deleted. Raises RqtoolError, which says how many tasks were
        processed before; Stopped after a signal.
        """
        with Signals(grace=LAST_SECONDS) as self._signals:
            try:
                await self._signals.interrupt(
                    self._read(),
                    lambda: self._signals.leave or (self._signals.finish and not self._moving),
                    LAST_SECONDS,
                )
            except NotTaken as refusal:
                what = f"Queue {self.queue!r}: {refusal}{self._so_far()}"
                raise RqtoolError(what, "Fix the cause and try again") from None
            except Lost as lost:
                error = unreachable(lost)
                raise Unreachable(f"{error.what}{self._so_far()}", error.what_to_do) from None
            except RqtoolError as error:
                error.what += self._so_far()
                raise
            if self._signals.finish:
                raise Stopped(self._signals.last, f"stopped by a signal{self._so_far()}")
        return self._handled

    def _so_far(self) -> str:
        if not (self.done and self._selected):
            return ""
        return f"; {plural(self._handled, 'task')} {self.done}, the rest is still in {self._name!r}"

    async def _read(self) -> None:
        connection = await connect(self._endpoint, "dead")
        browser = Browser(connection, self.queue)
        try:
            some = self._selection.is_some
            await browser.open(returns=self.returns or some)
            while not self._signals.finish and (not self._full or browser.must_read_all):
                batch = await browser.read(None if some or self._full else self._room)
                if not batch:
                    break
                await self._select([each for each in batch if self._is_meant(each)] if some else batch)
                if browser.lost.done():
                    raise browser.lost.result()
            if not self._signals.finish:
                await self._select([each for each in self._ids.waiting() if self._is_like(each)])
                await self.finish(browser)
        except Lost as lost:
            # A queue whose node is down is "not found" as well.
            if lost.code != NOT_FOUND or "no queue" not in lost.text or self._selected:
                raise_refusal(lost, f"tasks of queue {self._name!r}")
            if not await is_there(connection, self.queue):
                raise no_queue(self.queue) from None
            await self.finish(browser)  # the first task that dies creates the dead queue
            return
        finally:
            self.ready = browser.ready
            await self._close(browser, connection)
        # Tasks that were only listed are back in the queue in any case.
        if self.done and not (connection.lost.done() and connection.lost.result().code == _CLOSED_IN_ORDER):
            raise Lost(0, "it ended before the broker had read everything, so some tasks may still be there")

    async def _close(self, browser: Browser, connection: Connection) -> None:
        """Return what is held and close. After a signal this has LAST_SECONDS: the broker itself returns what is left,
        but to a quorum queue not always in order.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_SECONDS if self._signals.finish else None):
                await browser.return_all()
                await self.close()
                await connection.close(RETURN_SECONDS if browser.has_read else CLOSE_SECONDS)

    @property
    def _room(self) -> int | None:
        """How many more tasks may be selected; None: any number."""
        limit = self._selection.limit
        return None if limit is None else limit - self._selected

    @property
    def _full(self) -> bool:
        return self._room == 0

    async def _select(self, tasks: list[Delivery]) -> None:
        selected = tasks[: self._room]
        self._selected += len(selected)
        await self.handle(selected)

    def _is_meant(self, delivery: Delivery) -> bool:
        if self._selection.ids:
            name = task_id(delivery.message_id, delivery.headers)
            return self._ids.chooses(name, delivery, len(delivery.body)) and self._is_like(delivery)
        return self._is_like(delivery)

    def _is_like(self, delivery: Delivery) -> bool:
        return self._selection.filter.matches(self.read(delivery), delivery.body, delivery.headers)

    def read(self, delivery: Delivery) -> DeadTask:
        timestamp = delivery.properties.timestamp
        return read_dead_task(self.queue, delivery.message_id, timestamp, delivery.headers, delivery.body)


class Listing(Operation):
    """Shows tasks as they are read, and leaves them in the queue, in order.

    Everything is shown before anything is returned, which can take a while. At the end `show` gets an empty list.
    """

    def __init__(
        self, endpoint: Endpoint, selection: Selection, show: Callable[[list[DeadTask]], Awaitable[None]]
    ) -> None:
        super().__init__(endpoint, selection)
        self._show = show

    async def handle(self, tasks: list[Delivery]) -> None:
        if tasks:
            await self._show([self.read(each) for each in tasks])
        await super().handle(tasks)

    async def finish(self, browser: Browser) -> None:  # noqa: ARG002
        await self._show([])


class Show(Operation):
    """Finds one task, and leaves it in the queue; `detail` is None if it is not there."""

    detail: Detail | None = None

    async def handle(self, tasks: list[Delivery]) -> None:
        for each in tasks:
            self.detail = Detail(self.read(each), unix_time(each.properties.timestamp), each.headers, each.body)
        await super().handle(tasks)


class Retry(Operation):
    """Puts tasks back into their queue, as if they had never been tried."""

    returns = False
    done = "put back"

    def __init__(
        self, endpoint: Endpoint, selection: Selection, say: Callable[[str], None], *, accept_loss: bool
    ) -> None:
        super().__init__(endpoint, selection)
        role = "dead, retries"
        self._republisher = Republisher(endpoint, selection.queue, None, role, say, accept_loss=accept_loss)

    async def handle(self, tasks: list[Delivery]) -> None:
        self._moving = True
        try:
            results = await asyncio.gather(*map(self._move, tasks), return_exceptions=True)
        finally:
            self._moving = False
        for result in results:
            if result is not None:
                raise result

    async def _move(self, delivery: Delivery) -> None:
        """First the confirmed copy, then the ack: a crash in between makes a duplicate but loses nothing."""
        await self._republisher.deliver(at_home(self.queue), delivery.copied(as_new(delivery.headers)))
        self._handled += delivery.ack()

    async def close(self) -> None:
        await self._republisher.close()


class Purge(Operation):
    """Deletes tasks. With `confirm`, deletes exactly the tasks that it asked about, if the answer is yes."""

    done = "deleted"

    def __init__(
        self, endpoint: Endpoint, selection: Selection, confirm: Callable[[int], Awaitable[bool]] | None
    ) -> None:
        super().__init__(endpoint, selection)
        self._confirm = confirm
        self._held = array("Q")
        self.returns = confirm is not None
        self.declined = False

    async def handle(self, tasks: list[Delivery]) -> None:
        if self._confirm is not None:
            self._held.extend(each.tag for each in tasks)
        else:
            self._handled += sum(each.ack() for each in tasks)

    async def finish(self, browser: Browser) -> None:
        if self._confirm is None or not self._held:
            return
        answer = asyncio.ensure_future(self._confirm(len(self._held)))
        try:
            await either(answer, browser.lost)
            if browser.lost.done():
                raise browser.lost.result()
            self.declined = not answer.result()
            if not self.declined:
                self._handled += browser.acknowledge(self._held)
        finally:
            answer.cancel()

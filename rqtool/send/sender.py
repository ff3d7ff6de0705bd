"""`rqtool send`: tasks → window → confirms, across lost connections, with a ledger of what the broker took."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

from rqtool.amqp.connect import connect, keep_trying
from rqtool.amqp.connection import Connection
from rqtool.amqp.declare import ensure_queue, is_there
from rqtool.amqp.errors import Lost, raise_refusal
from rqtool.amqp.new_queues import NEW_SECONDS, is_marked_as_new
from rqtool.amqp.publisher import Publisher
from rqtool.amqp.topology import parse_size_limit
from rqtool.amqp.window import Message, Settled
from rqtool.endpoint.urls import Endpoint
from rqtool.errors import AccessRefused, RqtoolError, Unreachable, UnsafeQueue
from rqtool.send.feed import Feed
from rqtool.send.input import Batch
from rqtool.send.ledger import Ledger, Refusal
from rqtool.send.options import SendOptions
from rqtool.send.report import Report, why_incomplete
from rqtool.send.timeouts import GIVE_UP, SHORTEST_TRY, GaveUp, Patience, QueueGone, Silence
from rqtool.send.unsent import UnsentFile, write_unsent
from rqtool.signals import Signals

_PRECONDITION = 406
MESSAGES_AT_ONCE = 250
"""Published before the loop gets its turn: nothing leaves the process until then."""
NACK_DELAY = 0.5
"""Seconds before a task that the broker nacked (a full queue) is offered again."""


class Sender:
    """One run. `say` gets lines for people, `on_confirmed` the messages as the broker takes them."""

    def __init__(
        self,
        endpoint: Endpoint,
        options: SendOptions,
        *,
        say: Callable[[str], None],
        on_confirmed: Callable[[list[Message]], None],
        unsent: UnsentFile | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._options = options
        self._say = say
        self._on_confirmed = on_confirmed
        self._unsent = unsent
        self._ledger = Ledger()
        self._patience = Patience(GIVE_UP if options.give_up is None else options.give_up)
        self._connection: Connection | None = None
        self._publisher: Publisher | None = None
        self._silence = Silence()
        self._held: list[Message] = []  # nacked, and offered again in a moment
        self._blocked = False
        self._trouble = ""  # what stands in the way; empty again with the next confirm
        self._told = False  # that a second signal leaves
        self._no_route = False
        self._started = time.monotonic()
        self._is_new = False
        self._fruitless = 0  # connections since the last confirm

    async def run(self, batches: Iterable[Batch]) -> Report:
        """Send every task of `batches`. Raises RqtoolError where nothing could begin."""
        self._wake = asyncio.Event()
        self._feed = Feed(batches, self._options.skip, self._options.envelope, self._ledger, self._wake.set)
        problem: str | None = None
        with Signals(self._wake.set) as self._signals:
            try:
                await self._send_all()
                problem = why_incomplete(self._ledger.refused, self._feed.error, ended=self._feed.ended)
            except GaveUp as given_up:
                problem = str(given_up)
                self._no_route |= isinstance(given_up, QueueGone)
            finally:
                self._retreat()
                resume_at = self._options.skip if self._no_route else max(self._ledger.resume_at(), self._options.skip)
                if self._unsent is not None:
                    await write_unsent(self._unsent, self._ledger, self._feed, self._signals, self._wake, self._say)
                if self._connection is not None:
                    await self._connection.close()
        return Report(
            confirmed=self._ledger.confirmed,
            unconfirmed=len(self._ledger.unconfirmed()),
            resume_at=resume_at,
            refused=self._ledger.refused,
            problem=problem,
            killed_by=self._signals.last if self._signals.leave else 0,
            complete=self._feed.ended and self._feed.error is None,
            queue_gone=self._no_route and bool(self._ledger.confirmed),
            seconds=time.monotonic() - self._started,
        )

    async def _send_all(self) -> None:
        while True:
            publisher = await self._open()
            await self._outwait_newness()
            while (lost := self._lost(publisher)) is None:
                self._wake.clear()
                self._fill(publisher)
                if self._finished:
                    return
                await self._next_event(publisher)
            await self._recover(lost)

    # The connection: opened, lost, blocked.

    async def _open(self) -> Publisher:
        """Connect, declare, open the channel; again and again within the patience."""
        first = self._connection is None

        def on_failure(error: RqtoolError) -> None:
            if first and (self._options.give_up is None or not self._patience.left):
                raise error
            if not self._patience.left:
                raise GaveUp(error.what)

        bounded = not first or self._options.give_up is not None
        opening = keep_trying(self._open_in_time if bounded else self._open_once, on_failure, self._fruitless)
        self._fruitless += 1
        try:
            publisher = await self._signals.interrupt(opening, self._may_leave)
        except UnsafeQueue as error:
            raise error if first else GaveUp(error.what) from None
        if publisher is None:
            raise GaveUp("stopped while there was no connection")
        return publisher

    def _may_leave(self) -> bool:
        return self._signals.leave or (self._signals.finish and not self._unsettled)

    async def _open_in_time(self) -> Publisher:
        try:
            async with asyncio.timeout(max(self._patience.left, SHORTEST_TRY)):
                return await self._open_once()
        except TimeoutError:
            raise Unreachable("No broker answers in time", "Look at the broker, or raise --give-up") from None

    async def _open_once(self) -> Publisher:
        connection = await connect(self._endpoint, "send")
        try:
            await self._declare(connection)
            publisher = await Publisher.open(connection, self._options.guarantee, self._settled)
        except BaseException:
            await connection.close()
            raise
        connection.on_blocked(partial(self._block_changed, connection))
        publisher.lost.add_done_callback(lambda _: self._wake.set())
        if self._trouble:
            self._say(f"connected again, to {connection.url}")
        self._connection, self._publisher = connection, publisher
        self._silence.heard()
        return publisher

    async def _declare(self, connection: Connection) -> None:
        queue, options = self._options.queue, self._options
        if self._ledger.confirmed and not await is_there(connection, queue):
            # Made anew it would be empty, and what was confirmed would count as sent.
            raise QueueGone(f"queue {queue!r} is gone, and with it what was confirmed and not yet done")
        tx = options.guarantee == "tx"
        found = await ensure_queue(connection, queue, options.kind, accept_loss=options.accept_loss, commits=tx)
        if found.drops and self._connection is None:
            self._say(f"queue {queue!r} may drop tasks that it has confirmed: {', '.join(found.drops)}")
        self._is_new = found.new

    async def _outwait_newness(self) -> None:
        with suppress(Lost):
            if not self._is_new and self._connection is not None:
                self._is_new = await is_marked_as_new(self._connection, self._options.queue)
        if not self._is_new:
            return
        if sys.stderr.isatty():
            self._say(f"the queue is new; in {NEW_SECONDS:.0f} s it survives a crash of the broker")
        await self._signals.interrupt(asyncio.sleep(NEW_SECONDS), self._may_leave)
        if self._signals.leave:
            raise GaveUp("stopped")
        self._started = time.monotonic()

    def _lost(self, publisher: Publisher) -> Lost | None:
        if publisher.lost.done():
            return publisher.lost.result()
        if self._unsettled and not self._blocked and not self._silence.left(publisher.window.size):
            return Lost(0, "the broker confirms nothing any more")
        return None

    async def _recover(self, lost: Lost) -> None:
        """Take back what the lost channel leaves unknown. Raises GaveUp where another try would end the same way."""
        if not self._unsettled:
            self._patience.renew()
        self._retreat()
        self._blocked = False
        if self._connection is not None:
            await self._connection.close()
        limit = parse_size_limit(lost.text)
        if limit is not None:
            self._feed.size_limit = limit  # the one that is too large is refused when its turn comes again
            return
        try:
            raise_refusal(lost, f"tasks for queue {self._options.queue!r}")
        except AccessRefused as refusal:
            if not self._ledger.confirmed:
                raise
            raise GaveUp(refusal.what) from None
        except Lost:
            self._trouble = f"the connection was lost: {lost}"
            if lost.code == _PRECONDITION:
                raise GaveUp(f"the broker refuses a task: {lost.text}") from None
            if not self._patience.left:
                raise GaveUp(self._trouble) from None
            self._say(f"connection lost: {lost}; trying again for {self._patience.left:.0f} s")

    def _retreat(self) -> None:
        """Everything unsettled waits to be sent again."""
        window = self._publisher.window.abandon() if self._publisher else []
        self._ledger.take_back([*window, *self._held])
        self._held.clear()

    def _block_changed(self, connection: Connection, reason: str | None) -> None:
        if connection is not self._connection:
            return
        self._blocked = reason is not None
        self._patience.renew()
        self._silence.heard()
        self._say(
            "the broker takes tasks again" if reason is None else f"the broker is {reason} and takes no tasks; waiting"
        )
        self._wake.set()

    # The tasks: read, published, settled.

    @property
    def _unsettled(self) -> bool:
        in_window = bool(self._publisher and self._publisher.window)
        return in_window or bool(self._held) or self._ledger.waiting

    @property
    def _finished(self) -> bool:
        return not self._unsettled and (self._signals.finish or self._no_route or self._feed.ended)

    def _fill(self, publisher: Publisher) -> None:
        """Publish what fits into the window, oldest first."""
        if not self._unsettled:
            self._patience.renew()
            self._silence.heard()
        for _ in range(MESSAGES_AT_ONCE):
            if self._blocked or self._held or not publisher.has_room:
                break
            message = self._feed.next(new=not (self._signals.finish or self._no_route))
            if message is None:
                break
            publisher.publish(self._options.queue, message)
        else:
            self._wake.set()  # there may be more, once the loop has written these
        publisher.flush()

    async def _next_event(self, publisher: Publisher) -> None:
        """Wait for an answer, a task, a signal. Raises GaveUp when told to leave, or out of patience."""
        loop = asyncio.get_running_loop()
        impatient = self._unsettled and not self._blocked
        limit = self._patience.left if self._held else self._silence.left(publisher.window.size)
        timer = loop.call_later(limit, self._wake.set) if impatient else None
        if self._signals.finish and not self._told:
            self._told = True
            self._say("waiting for the confirms of what is on its way; a second signal leaves at once")
        await self._wake.wait()
        if timer is not None:
            timer.cancel()
        if self._signals.leave:
            raise GaveUp("stopped")
        if self._held and not self._patience.left:
            raise GaveUp(self._trouble)

    def _settled(self, settled: Settled) -> None:
        self._silence.heard()
        if settled.confirmed:
            self._ledger.confirmed += len(settled.confirmed)
            self._patience.renew()
            self._trouble = ""
            self._fruitless = 0
            self._on_confirmed(settled.confirmed)
        for message in settled.returned:
            self._no_route = True
            self._ledger.refused.append(Refusal(message, f"no queue took it: {self._options.queue!r} is gone"))
        if settled.nacked:
            self._trouble = "the broker refuses them (nack): the queue is full, or has lost its majority"
            if not self._held:
                asyncio.get_running_loop().call_later(NACK_DELAY, self._offer_again)
            self._held += settled.nacked
        self._wake.set()

    def _offer_again(self) -> None:
        self._ledger.take_back(self._held)
        self._held.clear()
        self._wake.set()

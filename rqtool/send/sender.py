"""`rqtool send`: connect, publish the outbox's messages, settle them by the broker's answers, report."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Coroutine, Iterable
from dataclasses import replace
from typing import Any

from rqtool.amqp.connect import connect, keep_trying
from rqtool.amqp.connection import Connection
from rqtool.amqp.errors import Lost, parse_size_limit
from rqtool.amqp.message import Sealer
from rqtool.amqp.new_queues import NEW_SECONDS, STILL_NEW
from rqtool.amqp.publisher import Publisher, block_message
from rqtool.amqp.window import Message, Settled
from rqtool.endpoint.urls import Endpoint
from rqtool.errors import AccessRefused, RqtoolError, Unreachable, UnsafeQueue
from rqtool.send.display import Display
from rqtool.send.input import Batch, ReadAhead
from rqtool.send.options import SendOptions
from rqtool.send.outbox import Outbox
from rqtool.send.report import Report, why_incomplete
from rqtool.send.target import GaveUp, QueueGone, Target, why_refused
from rqtool.send.timeout import GIVE_UP, SHORTEST_TRY, Timeout
from rqtool.send.unsent import UnsentFile
from rqtool.signals import Signals
from rqtool.topology import warning

MESSAGES_AT_ONCE = 250
"""Published before the loop gets its turn: nothing leaves the process until then."""
NACK_DELAY = 0.5
"""Seconds before a task that the broker nacked (a full queue) is published again."""


class Sender:
    """One run. It sends every task of `batches`; those that it can't send go to `unsent`."""

    def __init__(
        self,
        endpoint: Endpoint,
        options: SendOptions,
        batches: Iterable[Batch],
        display: Display,
        unsent: UnsentFile | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._options = options
        self._display = display
        self._unsent = unsent
        self._wake = asyncio.Event()
        self._signals = Signals(self._signalled)
        self._input = ReadAhead(batches, self._input_changed)
        self._outbox = Outbox(self._input.take, Sealer(options.envelope).seal, options.skip)
        self._target = Target(options)
        self._give_up = Timeout(GIVE_UP if options.give_up is None else options.give_up)
        self._connection: Connection | None = None
        self._connects = 0  # since the last confirm
        self._said_lost = self._took_nothing = False
        self._started = time.monotonic()

    async def run(self) -> Report:
        """Send, and report the result. Raises RqtoolError if it could not even begin."""
        self._input.start()
        problem: str | None = None
        with self._signals:
            try:
                await self._send_all()
                problem = why_incomplete(self._outbox.refused, self._input.error, ended=self._input.ended)
            except GaveUp as given_up:
                problem = str(given_up)
                self._outbox.queue_gone |= isinstance(given_up, QueueGone)
            finally:
                self._outbox.stopped = True
                self._outbox.disconnected()  # no later confirm changes what is reported and written to --unsent
                self._display.confirmed(self._outbox.confirmed_ahead())
                resume_at = self._outbox.resume_at()
                unconfirmed = self._outbox.unconfirmed()
                if self._unsent is not None:
                    await self._write_unsent(self._unsent, unconfirmed)
                if self._connection is not None:
                    await self._connection.close()
        return Report(
            queue=self._options.queue,
            guarantee=self._options.guarantee,
            confirmed=self._outbox.confirmed,
            unconfirmed=len(unconfirmed),
            resume_at=resume_at,
            refused=self._outbox.refused,
            problem=problem,
            killed_by=self._signals.last if self._signals.leave else 0,
            complete=self._input.complete,
            queue_gone=self._outbox.queue_gone and self._outbox.confirmed > 0,
            seconds=time.monotonic() - self._started,
        )

    async def _send_all(self) -> None:
        while (connected := await self._connect()) is not None:
            connection, publisher, new = connected
            await self._outwait_newness(new)
            try:
                while not publisher.lost.done():
                    self._wake.clear()
                    if self._took_nothing:
                        await self._judge_returned(connection)
                    if not self._publish(publisher):
                        await self._prepare(connection)
                        continue
                    if self._complete:
                        return
                    if self._display.is_behind:  # meanwhile nothing more is published
                        await self._signals.interrupt(self._display.catch_up(), lambda: self._signals.leave)
                    await self._wake.wait()
                    if self._signals.leave:
                        raise GaveUp("stopped")
                    if self._outbox.nacked and not self._give_up.left:
                        raise GaveUp("the broker refuses them (nack): the queue is full, or has lost its majority")
                raise publisher.lost.result()
            except Lost as lost:
                await self._recover(lost)

    async def _connect(self) -> tuple[Connection, Publisher, bool] | None:
        """Connect, until time is up. Returns also whether the queue is new; None: nothing is left to do."""
        first = self._connection is None
        bounded = not first or self._options.give_up is not None

        async def connect_once() -> tuple[Connection, Publisher, bool]:
            try:
                async with asyncio.timeout(max(self._give_up.left, SHORTEST_TRY) if bounded else None):
                    return await self._connect_once()
            except TimeoutError:
                raise Unreachable("No broker answers in time", "Look at the broker, or raise --give-up") from None

        def on_failure(error: RqtoolError) -> None:
            if not (bounded and self._give_up.left) or (first and isinstance(error, AccessRefused)):
                raise error if first else GaveUp(error.what)
            if first:
                self._display.warn(f"{error.what}; trying again")

        connecting = keep_trying(connect_once, on_failure, self._connects)
        self._connects += 1
        try:
            connected = await self._signals.interrupt(connecting, self._may_leave)
        except UnsafeQueue as error:
            raise error if first else GaveUp(error.what) from None
        if connected is None and not self._complete:
            raise GaveUp("stopped while there was no connection")
        return connected

    async def _connect_once(self) -> tuple[Connection, Publisher, bool]:
        connection = await connect(self._endpoint, "send")
        connection.on_blocked(self._block_changed)
        try:
            # First: checking a queue's age takes a message, after which a broker in alarm answers nothing more.
            publisher = await Publisher.open(connection, self._options.guarantee, self._settled)
            found = await self._target.declare(connection, again=self._outbox.confirmed > 0)
        except BaseException:
            await connection.close()
            raise
        publisher.lost.add_done_callback(lambda _: self._wake.set())
        self._outbox.connected(publisher.window)
        if self._connection is None:
            self._display.warning = warning(self._options.queue, found.drops)
        self._connection = connection
        if self._said_lost:
            self._said_lost = False
            self._display.say(f"connected again, to {connection.url}")
        return connection, publisher, found.new

    async def _prepare(self, connection: Connection) -> None:
        """Make ready what the next task needs."""
        try:
            new = await self._unless_stopped(self._target.prepare(connection))
        except (AccessRefused, UnsafeQueue) as error:
            raise (GaveUp(error.what) if self._outbox.confirmed else error) from None
        if new is not None:
            await self._outwait_newness(new)
        self._give_up.restart()  # the broker has answered; waiting for a due time is not a failure

    async def _outwait_newness(self, new: bool) -> None:
        """Wait until the queue is old enough to survive a crash of the broker."""
        if not new:
            return
        if sys.stderr.isatty():
            self._display.say(STILL_NEW)
        await self._unless_stopped(asyncio.sleep(NEW_SECONDS))
        if not self._outbox.confirmed:
            self._started = time.monotonic()

    async def _recover(self, lost: Lost) -> None:
        """Prepare to resend the tasks of the lost channel. Raises GaveUp if that would fail again."""
        self._took_nothing = False
        if self._outbox.settled:
            self._give_up.restart()
        self._outbox.disconnected()
        if self._connection is not None:
            await self._connection.close()
        if (limit := parse_size_limit(lost.text)) is not None:
            self._outbox.size_limit = limit
            return
        if error := why_refused(lost, self._options.queue, confirmed=self._outbox.confirmed > 0):
            raise error
        if not self._give_up.left:
            raise GaveUp(f"the connection was lost: {lost}")
        self._said_lost = True
        self._display.say(f"connection lost: {lost}; trying again for {self._give_up.left:.0f} s")

    @property
    def _complete(self) -> bool:
        """Whether nothing is left to do; the first connection is to be made in any case."""
        ended = self._outbox.stopped or self._outbox.queue_gone or self._input.ended
        return self._connection is not None and self._outbox.settled and ended

    def _may_leave(self) -> bool:
        return self._signals.leave or self._complete or (self._signals.finish and self._outbox.settled)

    async def _unless_stopped(self, work: Coroutine[Any, Any, bool | None]) -> bool | None:
        done = await self._signals.interrupt(work, self._may_leave)
        if self._signals.leave:
            raise GaveUp("stopped")
        return done

    def _publish(self, publisher: Publisher) -> bool:
        """Publish as many tasks as the window has room for. Returns False if the next one needs preparation."""
        if self._outbox.settled:
            self._give_up.restart()
        route = self._target.route
        for _ in range(MESSAGES_AT_ONCE):
            if not publisher.has_room or (message := self._outbox.next()) is None:
                break
            if route is None:
                self._outbox.put_back(message)
                return False
            publisher.publish(route.key, message, route.exchange)
        else:
            self._wake.set()  # there may be more, once the loop has written these
        publisher.flush()
        return True

    def _settled(self, settled: Settled) -> None:
        if settled.returned:
            self._took_nothing = True
            settled = replace(settled, nacked=[*settled.nacked, *settled.returned], returned=[])
        elif settled.nacked and not self._outbox.nacked:
            asyncio.get_running_loop().call_later(NACK_DELAY, self._retry_nacked)
        self._display.confirmed(self._outbox.settle(settled))
        if settled.confirmed:
            self._give_up.restart()
            self._connects = 0
        self._wake.set()

    async def _judge_returned(self, connection: Connection) -> None:
        """Refuse unroutable tasks if their queue was deleted. Raises Lost if its node is or was down: try again."""
        self._took_nothing = False
        if not await self._target.gone(connection):
            raise Lost(0, "no queue took a task")
        returned, self._outbox.nacked = self._outbox.nacked, []
        self._display.confirmed(self._outbox.settle(Settled(returned=returned)))

    def _retry_nacked(self) -> None:
        self._outbox.retry_nacked()
        self._wake.set()

    def _block_changed(self, reason: str | None) -> None:
        self._give_up.restart()
        self._display.say(block_message(reason))
        self._wake.set()

    def _input_changed(self) -> None:
        self._wake.set()
        self._signals.look_again()

    def _signalled(self) -> None:
        if not (self._outbox.stopped or self._outbox.settled):
            self._display.say("waiting for the broker's confirms; a second signal leaves at once")
        self._outbox.stopped = True
        self._wake.set()

    async def _write_unsent(self, file: UnsentFile, unconfirmed: list[Message]) -> None:
        """Write what is not confirmed, then the rest of the input, up to its end or a further signal.

        An error stays in `file.error`: the report of what was sent must not be lost with it.
        """
        try:
            for message in unconfirmed:
                file.add(message.body)
            if not self._input.ended:
                self._display.say(f"writing the rest of the input to {file.path}; Ctrl-C ends that")
            before = self._signals.count
            while not (self._input.ended or self._signals.count > before or self._signals.leave):
                self._wake.clear()
                while (task := self._outbox.read()) is not None:
                    file.add(task[1])
                if not self._input.ended:
                    await self._wake.wait()
            file.finish(complete=self._input.complete)
        except RqtoolError as error:
            file.error = error

"""Every task of one run of `send`, from the input to the broker's answer. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from rqtool.amqp.window import Message, Settled, Window


@dataclass(frozen=True, slots=True)
class Refusal:
    """A task that the broker will never take, and the reason."""

    message: Message
    why: str


class Outbox:
    """Each task that was read is in exactly one place: waiting, in the channel's window, nacked, refused or confirmed.

    `take` returns the next task of the input, None if there is none now; `seal` makes a message of a position and a
    task. Positions count from 0 over the whole input, the first `skip` tasks included.
    """

    def __init__(self, take: Callable[[], bytes | None], seal: Callable[[int, bytes], Message], skip: int = 0) -> None:
        self._take = take
        self._seal = seal
        self._skip = skip
        self._position = 0
        self._answered = skip
        """Everything before this position is confirmed or refused; later positions that are so too are here."""
        self._answered_ahead: dict[int, Message | None] = {}
        self._waiting: deque[Message] = deque()
        self._window = Window(0, 0)
        self.confirmed = 0
        self.nacked: list[Message] = []
        """Nacked for now (a full queue). Nothing else is published until `retry_nacked`."""
        self.refused: list[Refusal] = []
        self.queue_gone = False
        """The queue was deleted, with its confirmed tasks: take nothing new from the input."""
        self.stopped = False
        """Set it to take nothing new from the input."""
        self.size_limit: int | None = None
        """Bytes. Set it once the broker has named the largest body that it accepts."""

    @property
    def settled(self) -> bool:
        """Whether no task that was read is waiting, for the broker or to be sent again."""
        return not (self._window or self._waiting or self.nacked)

    def connected(self, window: Window) -> None:
        """Use the window of a new channel: the publisher adds to it each message that it gets from `next`."""
        self._window = window

    def disconnected(self) -> None:
        """The broker's answers are lost with the channel: the tasks in its window, and the nacked ones, wait to be sent
        again.
        """
        self.nacked += self._window.abandon()
        self.retry_nacked()

    def next(self) -> Message | None:
        """Return the next message to publish, resends first, in the order of the input; None if there is none now."""
        while not self.nacked:
            if self._waiting:
                message = self._waiting.popleft()
            elif self.stopped or self.queue_gone or (task := self.read()) is None:
                return None
            else:
                message = self._seal(*task)
            size = len(message.body)
            if self.size_limit is None or size <= self.size_limit:
                return message
            why = f"it has {size:,} bytes and the broker takes {self.size_limit:,} (max_message_size)"
            self._refuse(message, why)
        return None

    def put_back(self, message: Message) -> None:
        """Take back a message that `next` returned and that can't be published now."""
        self._waiting.appendleft(message)

    def read(self) -> tuple[int, bytes] | None:
        """Take a task and its position, bypassing the outbox; None if there is none now."""
        while (body := self._take()) is not None:
            position = self._position
            self._position += 1
            if position >= self._skip:
                return position, body
        return None

    def settle(self, settled: Settled) -> list[Message]:
        """Record what the broker answered about messages of the window.

        Returns the confirmed messages in input order: each once, and only when all before it are confirmed or refused.
        """
        self.confirmed += len(settled.confirmed)
        self._answered_ahead.update((message.position, message) for message in settled.confirmed)
        for message in settled.returned:
            self.queue_gone = True
            self._refuse(message, "no queue took it: the queue is gone")
        self.nacked += settled.nacked
        confirmed = []
        while self._answered in self._answered_ahead:
            if (answered := self._answered_ahead.pop(self._answered)) is not None:
                confirmed.append(answered)
            self._answered += 1
        return confirmed

    def confirmed_ahead(self) -> list[Message]:
        """Return, in order, the messages that are confirmed while one before them is neither confirmed nor refused."""
        return _in_order([message for message in self._answered_ahead.values() if message is not None])

    def retry_nacked(self) -> None:
        self._waiting = deque(_in_order([*self.nacked, *self._waiting]))
        self.nacked = []

    def unconfirmed(self) -> list[Message]:
        """Return all tasks that were read and are not confirmed, in input order."""
        refused = (refusal.message for refusal in self.refused)
        return _in_order([*refused, *self._window, *self.nacked, *self._waiting])

    def resume_at(self) -> int:
        """Return the N of `--skip N`: how many tasks from the start are confirmed, or were skipped, without a gap.

        Not one past the last confirmed task: confirms overtake each other, and the tasks in the gaps would be lost.
        """
        if self.queue_gone:
            return self._skip
        return max(self._skip, min((message.position for message in self.unconfirmed()), default=self._position))

    def _refuse(self, message: Message, why: str) -> None:
        self.refused.append(Refusal(message, why))
        self._answered_ahead[message.position] = None


def _in_order(messages: list[Message]) -> list[Message]:
    return sorted(messages, key=lambda message: message.position)

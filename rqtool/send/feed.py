"""What is to be published next: what waits to be sent again, and then the input, task by task."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rqtool.amqp.message import Envelope, Sealer
from rqtool.amqp.window import Message
from rqtool.send.input import Batch, ReadAhead
from rqtool.send.ledger import Ledger, Refusal


class Feed:
    """Reads `batches` ahead, leaves out the first `skip` tasks, and keeps the ledger of what was read.

    `wake` is called on the loop when there is something new. `size_limit`: bytes that the broker takes, once known.
    """

    def __init__(
        self, batches: Iterable[Batch], skip: int, envelope: Envelope, ledger: Ledger, wake: Callable[[], None]
    ) -> None:
        self._input = ReadAhead(batches, wake)
        self._skip = skip
        self._sealer = Sealer(envelope)
        self._ledger = ledger
        self.size_limit: int | None = None

    @property
    def ended(self) -> bool:
        """Whether the whole input was read and taken."""
        return self._input.ended

    @property
    def error(self) -> Exception | None:
        """Why the input can't be read any further."""
        return self._input.error

    def next(self, *, new: bool) -> Message | None:
        """The next message, None if there is none now; not `new`: of what was read before only."""
        while True:
            message = self._ledger.next_waiting()
            if message is None and new and (task := self.read()) is not None:
                message = self._sealer.seal(*task)
            if message is None or self.size_limit is None or len(message.body) <= self.size_limit:
                return message
            why = f"it has {len(message.body):,} bytes and the broker takes {self.size_limit:,} (max_message_size)"
            self._ledger.refused.append(Refusal(message, why))

    def read(self) -> tuple[int, bytes] | None:
        """The next task of the input that is there, and its place, behind those to be left out."""
        while (body := self._input.take()) is not None:
            position = self._ledger.read
            self._ledger.read += 1
            if position >= self._skip:
                return position, body
        return None

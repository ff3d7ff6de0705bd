"""What became of each task of an input: confirmed, refused, or still to be sent. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from rqtool.amqp.window import Message


@dataclass(frozen=True, slots=True)
class Refusal:
    """A task that the broker will not take, however often it is asked."""

    message: Message
    why: str


class Ledger:
    """Places count from 0 over the whole input, skipped tasks included."""

    def __init__(self) -> None:
        self.read = 0
        self.confirmed = 0
        self.refused: list[Refusal] = []
        self._waiting: deque[Message] = deque()

    @property
    def waiting(self) -> bool:
        return bool(self._waiting)

    def next_waiting(self) -> Message | None:
        return self._waiting.popleft() if self._waiting else None

    def take_back(self, messages: Iterable[Message]) -> None:
        """Queue what must be sent again, in the order of the input."""
        self._waiting = deque(sorted([*messages, *self._waiting], key=lambda m: m.position))

    def unconfirmed(self) -> list[Message]:
        """Everything that was read and is not confirmed, in the order of the input."""
        return sorted([*(r.message for r in self.refused), *self._waiting], key=lambda m: m.position)

    def resume_at(self) -> int:
        """How many tasks from the start are confirmed without a gap: the N of `--skip N`.

        Not one past the last confirmed task, though nothing behind that one is: confirms overtake each other, and a
        task in a gap would be lost.
        """
        return min((m.position for m in self.unconfirmed()), default=self.read)

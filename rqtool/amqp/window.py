"""The window of published and not yet settled messages of one channel. Pure.

Rules: https://www.rabbitmq.com/docs/confirms. Publishes are numbered from 1 on each channel; acks and nacks may be
multiple and come in any order; a `basic.return` carries no number and comes before its ack.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

ANSWER_SECONDS = 10.0
SLOWEST = 100_000.0
"""Bytes per second: what is on its way may take this much longer before silence counts as the end of a connection."""


@dataclass(slots=True)
class Message:
    """One task on its way: its place in the input (from 0), what it is recognized by, its body, and its AMQP properties
    as they are written: flags and values.
    """

    position: int
    token: str
    body: bytes
    properties: bytes


@dataclass(slots=True)
class Settled:
    """What one answer of the broker decided. `returned`: acked, and yet in no queue."""

    confirmed: list[Message] = field(default_factory=list)
    returned: list[Message] = field(default_factory=list)
    nacked: list[Message] = field(default_factory=list)


class Window:
    """Bounded by messages and bytes; one message is let in whatever its size."""

    def __init__(self, messages: int, size: int) -> None:
        self._most_messages = messages
        self._most_bytes = size
        self._bytes = 0
        self._tag = 0
        self._open: OrderedDict[int, Message] = OrderedDict()
        self._returned: set[str] = set()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def size(self) -> int:
        """Bytes of the bodies in it."""
        return self._bytes

    @property
    def full(self) -> bool:
        return len(self._open) >= self._most_messages or self._bytes >= self._most_bytes

    def add(self, message: Message) -> None:
        """Count a publish; the broker numbers them the same way."""
        self._tag += 1
        self._open[self._tag] = message
        self._bytes += len(message.body)

    def mark_returned(self, token: str | None) -> None:
        if token is not None:
            self._returned.add(token)

    def ack(self, tag: int, *, multiple: bool) -> Settled:
        settled = Settled()
        for message in self._take(tag, multiple=multiple):
            if message.token in self._returned:
                self._returned.discard(message.token)
                settled.returned.append(message)
            else:
                settled.confirmed.append(message)
        return settled

    def nack(self, tag: int, *, multiple: bool) -> Settled:
        nacked = list(self._take(tag, multiple=multiple))
        self._returned.difference_update(message.token for message in nacked)
        return Settled(nacked=nacked)

    def ack_all(self) -> Settled:
        """Settle everything: a committed transaction, or the end of what is fired and forgotten."""
        return self.ack(self._tag, multiple=True)

    def abandon(self) -> list[Message]:
        """Empty the window and return what was in it, in order: after a lost channel all of it is unknown."""
        messages = list(self._open.values())
        self._open.clear()
        self._returned.clear()
        self._bytes = 0
        return messages

    def _take(self, tag: int, *, multiple: bool) -> Iterable[Message]:
        if not multiple:
            message = self._open.pop(tag, None)
            taken = [] if message is None else [message]
        else:
            taken = []
            # Tag 0 with `multiple` means all that is outstanding (AMQP 0-9-1, basic.ack).
            while self._open and (tag == 0 or next(iter(self._open)) <= tag):
                taken.append(self._open.popitem(last=False)[1])
        self._bytes -= sum(len(message.body) for message in taken)
        return taken

"""The published and not yet settled messages of one channel. Pure.

Rules: https://www.rabbitmq.com/docs/confirms. Publishes are numbered from 1 on each channel; acks and nacks may be
multiple and come in any order; a `basic.return` carries no number and comes before its ack.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

ANSWER_SECONDS = 10.0
SLOWEST = 100_000.0
"""Bytes per second that the slowest line carries."""


@dataclass(slots=True)
class Message:
    """A message to publish: its position in the input (from 0), the token that identifies it when the broker returns
    it, its body, and its encoded AMQP properties.
    """

    position: int
    token: str
    body: bytes
    properties: bytes


@dataclass(slots=True)
class Settled:
    """What one answer of the broker settled. `returned`: acked, but in no queue."""

    confirmed: list[Message] = field(default_factory=list)
    returned: list[Message] = field(default_factory=list)
    nacked: list[Message] = field(default_factory=list)


class Window:
    """Bounded by messages and bytes; an empty window has room for one message of any size."""

    def __init__(self, messages: int, size: int) -> None:
        self._most_messages = messages
        self._most_bytes = size
        self._bytes = 0
        self._tag = 0
        self._open: OrderedDict[int, Message] = OrderedDict()
        self._returned: set[str] = set()

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Message]:
        return iter(self._open.values())

    @property
    def full(self) -> bool:
        return len(self._open) >= self._most_messages or self._bytes >= self._most_bytes

    @property
    def answer_seconds(self) -> float:
        """How long a live broker may take to answer, with these bytes on a slow line."""
        return ANSWER_SECONDS + self._bytes / SLOWEST

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
        nacked = self._take(tag, multiple=multiple)
        self._returned.difference_update(message.token for message in nacked)
        return Settled(nacked=nacked)

    def ack_all(self) -> Settled:
        """Settle everything: a transaction was committed, or the broker has read an unconfirmed batch."""
        return self.ack(0, multiple=True)

    def abandon(self) -> list[Message]:
        """Empty the window of a lost channel and return its messages in order: any of them may have arrived."""
        messages = list(self)
        self._open.clear()
        self._returned.clear()
        self._bytes = 0
        return messages

    def _take(self, tag: int, *, multiple: bool) -> list[Message]:
        if multiple:
            taken = []
            # Tag 0 with `multiple` means all that is outstanding (AMQP 0-9-1, basic.ack).
            while self._open and (tag == 0 or next(iter(self._open)) <= tag):
                taken.append(self._open.popitem(last=False)[1])
        else:
            taken = [self._open.pop(tag)] if tag in self._open else []
        self._bytes -= sum(len(message.body) for message in taken)
        return taken

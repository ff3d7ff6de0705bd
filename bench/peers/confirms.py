"""Counting the confirms of messages that were published with the numbers 1, 2, 3, ... Pure.

https://www.rabbitmq.com/docs/confirms
"""

from __future__ import annotations

WINDOW_MESSAGES, WINDOW_BYTES = 10_000, 16 * 1024 * 1024
"""How much may be unconfirmed at once: as much as rqtool allows itself."""


class Confirms:
    """How many of `count` messages are confirmed; acks come in any order, and count once."""

    def __init__(self, count: int) -> None:
        self.settled = 0
        self._open = bytearray(b"\1" * (count + 1))
        self._low = 1

    def ack(self, tag: int, *, multiple: bool) -> None:
        """Count one message, or all up to this one."""
        first = self._low if multiple else tag
        if first > tag:
            return
        self.settled += self._open.count(1, first, tag + 1)
        self._open[first : tag + 1] = bytes(tag + 1 - first)
        if multiple:
            self._low = tag + 1

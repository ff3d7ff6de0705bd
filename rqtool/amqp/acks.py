"""The acks of one channel, combined into as few as possible. Pure.

A `multiple` ack settles all unsettled deliveries up to its tag
(https://www.rabbitmq.com/docs/confirms#consumer-acks-multiple-parameter), so one replaces all acks below the oldest
unsettled delivery.
"""

from __future__ import annotations

from collections import OrderedDict


class Acks:
    """Delivery tags grow with each delivery."""

    def __init__(self) -> None:
        self._in_hand: OrderedDict[int, None] = OrderedDict()
        self._collected: list[int] = []

    def delivered(self, tag: int) -> None:
        self._in_hand[tag] = None

    @property
    def in_hand(self) -> int:
        """How many deliveries are unsettled."""
        return len(self._in_hand)

    def holds(self, tag: int) -> bool:
        """Whether the delivery is unsettled."""
        return tag in self._in_hand

    def settled(self, tag: int, *, multiple: bool = False) -> None:
        """Forget a delivery that was settled otherwise than by `ack`."""
        if multiple:
            while self._in_hand and next(iter(self._in_hand)) <= tag:  # in order
                self._in_hand.popitem(last=False)
        else:
            self._in_hand.pop(tag, None)

    def ack(self, tag: int) -> bool:
        """Collect an ack. Returns whether it is the first since `take`."""
        self.settled(tag)
        self._collected.append(tag)
        return len(self._collected) == 1

    def take(self) -> list[tuple[int, bool]]:
        """Return tag and `multiple` of the acks that settle all that were collected."""
        tags, self._collected = sorted(self._collected), []
        oldest = next(iter(self._in_hand), None)
        below = [tag for tag in tags if oldest is None or tag < oldest]
        single = [(tag, False) for tag in tags[len(below) :]]
        return [(below[-1], len(below) > 1), *single] if below else single

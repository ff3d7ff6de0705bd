"""The acks of one channel: collected, and told with as few words as they need. Pure.

An ack that is `multiple` settles all deliveries up to its tag that are not settled yet
(https://www.rabbitmq.com/docs/confirms#consumer-acks-multiple-parameter), so it can stand for all acks below the oldest
delivery that is still in our hands.
"""

from __future__ import annotations

from collections import OrderedDict


class Acks:
    """Tags are numbers that grow with each delivery."""

    def __init__(self) -> None:
        self._in_hand: OrderedDict[int, None] = OrderedDict()
        self._untold: list[int] = []

    def delivered(self, tag: int) -> None:
        self._in_hand[tag] = None

    @property
    def in_hand(self) -> int:
        """How many deliveries are still to be settled."""
        return len(self._in_hand)

    def holds(self, tag: int) -> bool:
        """Whether it is still to be settled."""
        return tag in self._in_hand

    def settled(self, tag: int, *, multiple: bool = False) -> None:
        """The broker was told otherwise, or is about to be."""
        if multiple:
            while self._in_hand and next(iter(self._in_hand)) <= tag:  # they stand in order
                self._in_hand.popitem(last=False)
        else:
            self._in_hand.pop(tag, None)

    def ack(self, tag: int) -> bool:
        """Collect one. Returns whether it is the first since `take`."""
        self.settled(tag)
        self._untold.append(tag)
        return len(self._untold) == 1

    def take(self) -> list[tuple[int, bool]]:
        """Return tag and `multiple` of the acks to be sent, for all that were collected."""
        tags, self._untold = sorted(self._untold), []
        oldest = next(iter(self._in_hand), None)
        below = [tag for tag in tags if oldest is None or tag < oldest]
        single = [(tag, False) for tag in tags[len(below) :]]
        return [(below[-1], len(below) > 1), *single] if below else single

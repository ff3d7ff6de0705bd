"""Acks of a channel, told in few words: the broker settles just what was acknowledged."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rqtool.amqp.acks import Acks


class Channel(RuleBasedStateMachine):
    """A broker that does as it is told, and what we mean by it."""

    def __init__(self) -> None:
        super().__init__()
        self.acks = Acks()
        self.tag = 0
        self.in_hand: set[int] = set()
        self.meant: set[int] = set()
        self.unsettled: set[int] = set()
        self.acked: set[int] = set()

    @rule(count=st.integers(1, 5))
    def deliver(self, count: int) -> None:
        for _ in range(count):
            self.tag += 1
            self.in_hand.add(self.tag)
            self.unsettled.add(self.tag)
            self.acks.delivered(self.tag)

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        tag = data.draw(st.sampled_from(sorted(self.in_hand)))
        self.in_hand.remove(tag)
        self.acks.ack(tag)
        self.meant.add(tag)

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data(), multiple=st.booleans())
    def nack(self, data: st.DataObject, multiple: bool) -> None:
        """What comes before it is told first."""
        self.tell()
        tag = data.draw(st.sampled_from(sorted(self.in_hand)))
        settled = {each for each in self.in_hand if each == tag or (multiple and each < tag)}
        self.in_hand -= settled
        self.unsettled -= settled
        self.acks.settled(tag, multiple=multiple)

    @rule()
    def tell(self) -> None:
        for tag, multiple in self.acks.take():
            assert tag in self.unsettled, "the broker closes the channel over a tag that it does not know"
            settled = {each for each in self.unsettled if each == tag or (multiple and each < tag)}
            self.unsettled -= settled
            self.acked |= settled
        assert self.acked == self.meant

    @invariant()
    def nothing_else_is_settled(self) -> None:
        assert self.acked <= self.meant
        assert self.in_hand <= self.unsettled
        assert self.acks.in_hand == len(self.in_hand), "a channel that holds nothing closes"


TestChannel = Channel.TestCase


@given(st.integers(1, 50))
def test_in_order_one_word_is_enough(count: int) -> None:
    acks = Acks()
    for tag in range(1, count + 2):
        acks.delivered(tag)
    assert [acks.ack(tag) for tag in range(1, count + 1)] == [True] + [False] * (count - 1)
    assert acks.take() == [(count, count > 1)]
    assert acks.take() == []

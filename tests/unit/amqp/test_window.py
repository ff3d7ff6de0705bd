"""The window of unconfirmed messages: whatever the broker answers, in whatever order, nothing is lost or told twice."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rqtool.amqp.window import ANSWER_SECONDS, Message, Settled, Window

MOST_MESSAGES, MOST_BYTES = 8, 100


def _message(position: int, size: int = 1) -> Message:
    return Message(position, f"id {position}", b"x" * size, b"")


def _window(count: int) -> Window:
    window = Window(100, 1000)
    for position in range(count):
        window.add(_message(position))
    return window


def _positions(messages: list[Message]) -> list[int]:
    return [message.position for message in messages]


class Broker(RuleBasedStateMachine):
    """A broker that answers as it pleases, and a model: tag → message of all that is open, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.window = Window(MOST_MESSAGES, MOST_BYTES)
        self.tag = 0
        self.open: dict[int, Message] = {}
        self.returned: set[int] = set()

    @rule(size=st.integers(0, 60))
    def publish(self, size: int) -> None:
        if self.window.full:
            return
        self.tag += 1
        self.open[self.tag] = _message(self.tag, size)
        self.window.add(self.open[self.tag])

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def return_one(self, data: st.DataObject) -> None:
        tag = data.draw(st.sampled_from(sorted(self.open)))
        self.returned.add(tag)
        self.window.mark_returned(self.open[tag].token)

    @rule()
    def return_what_is_not_ours(self) -> None:
        self.window.mark_returned(None)

    @rule(data=st.data(), multiple=st.booleans())
    def ack(self, data: st.DataObject, multiple: bool) -> None:
        tag = data.draw(st.integers(0, self.tag + 1))
        gone = self._take(tag, multiple)
        confirmed = [message for number, message in gone if number not in self.returned]
        returned = [message for number, message in gone if number in self.returned]
        assert Settled(confirmed, returned, []) == self.window.ack(tag, multiple=multiple)

    @rule(data=st.data(), multiple=st.booleans())
    def nack(self, data: st.DataObject, multiple: bool) -> None:
        tag = data.draw(st.integers(0, self.tag + 1))
        gone = self._take(tag, multiple)
        assert Settled([], [], [message for _, message in gone]) == self.window.nack(tag, multiple=multiple)

    @rule()
    def commit(self) -> None:
        gone = self._take(0, multiple=True)
        confirmed = [message for number, message in gone if number not in self.returned]
        returned = [message for number, message in gone if number in self.returned]
        assert Settled(confirmed, returned, []) == self.window.ack_all()

    @rule()
    def lose_the_channel(self) -> None:
        assert list(self.open.values()) == self.window.abandon()
        self.open.clear()

    def _take(self, tag: int, multiple: bool) -> list[tuple[int, Message]]:
        """Settle in the model: AMQP 0-9-1, basic.ack."""
        chosen = [n for n in self.open if n == tag or (multiple and (tag == 0 or n < tag))]
        return [(number, self.open.pop(number)) for number in chosen]

    @invariant()
    def agrees_with_the_model(self) -> None:
        size = sum(len(message.body) for message in self.open.values())
        assert len(self.open) == len(self.window)
        assert self.window.full is (len(self.open) >= MOST_MESSAGES or size >= MOST_BYTES)

    def teardown(self) -> None:
        assert list(self.open.values()) == self.window.abandon()


TestAnyOrderOfAnswers = Broker.TestCase


def test_multiple_takes_what_is_older_in_order() -> None:
    """`multiple` settles everything up to its tag, oldest first, and leaves the rest open."""
    window = _window(5)
    assert _positions(window.ack(2, multiple=False).confirmed) == [1]
    assert _positions(window.ack(4, multiple=True).confirmed) == [0, 2, 3]
    assert _positions(window.abandon()) == [4]


@pytest.mark.parametrize("tag", [0, 3, 99])
def test_a_nack_of_several_confirms_nothing(tag: int) -> None:
    """`multiple` nacks are nacks, all of them; tag 0 means everything that is open."""
    settled = _window(3).nack(tag, multiple=True)
    assert Settled([], [], settled.nacked) == settled
    assert _positions(settled.nacked) == [0, 1, 2]


def test_a_second_answer_settles_nothing() -> None:
    """What was answered once, or was never published, is not settled by another answer."""
    window = _window(2)
    window.ack(1, multiple=False)
    assert Settled() == window.ack(1, multiple=False)
    assert Settled() == window.nack(1, multiple=True)
    assert Settled() == window.ack(0, multiple=False)
    assert Settled() == window.ack(3, multiple=False)
    assert len(window) == 1


def test_a_returned_message_is_not_confirmed_by_its_ack() -> None:
    """The broker acks what no queue took; the return that came before says so, for that message alone."""
    window = _window(3)
    window.mark_returned("id 1")
    settled = window.ack(3, multiple=True)
    assert (_positions(settled.confirmed), _positions(settled.returned)) == ([0, 2], [1])


def test_a_message_that_is_sent_again_begins_anew() -> None:
    """A return belongs to one publish: however that ended, the next of the same id is judged by itself."""
    window = Window(100, 1000)
    for end in (
        lambda: window.ack(0, multiple=True),
        window.abandon,
        lambda: window.nack(0, multiple=True),
    ):
        window.add(_message(0))
        window.mark_returned("id 0")
        end()
        window.add(_message(0))
        assert Settled([_message(0)], [], []) == window.ack_all()


def test_tags_go_on_after_everything_is_settled() -> None:
    """The broker numbers the publishes of a channel through; so does the window."""
    window = _window(2)
    window.ack_all()
    window.add(_message(7))
    assert Settled() == window.ack(1, multiple=False)
    assert _positions(window.ack(3, multiple=False).confirmed) == [7]


def test_one_message_of_any_size_is_let_in() -> None:
    """A task larger than the window's bytes fills it, and is the only one in it."""
    window = Window(10, 100)
    assert not window.full
    window.add(_message(0, 5000))
    assert window.full
    window.ack_all()
    assert not window.full


def test_an_answer_may_take_longer_the_more_is_under_way() -> None:
    """A slow line needs ten seconds for a megabyte."""
    window = Window(10, 10_000_000)
    assert window.answer_seconds == ANSWER_SECONDS
    window.add(_message(0, 1_000_000))
    assert window.answer_seconds == ANSWER_SECONDS + 10


def test_full_by_messages_or_by_bytes() -> None:
    """Either bound fills the window, at the bound itself; every way of settling makes room again."""
    by_messages, by_bytes = Window(2, 1000), Window(1000, 2)
    for window in (by_messages, by_bytes):
        window.add(_message(0))
        assert not window.full
        window.add(_message(1))
        assert window.full
    by_messages.nack(1, multiple=False)
    by_bytes.ack(2, multiple=False)
    assert not by_messages.full
    assert not by_bytes.full
    by_bytes.abandon()
    by_bytes.add(_message(2))
    assert not by_bytes.full

"""From the input to the broker's answer: whatever it answers, in any order, each task ends exactly once."""

from __future__ import annotations

from collections import deque

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rqtool.amqp.window import Message, Settled, Window
from rqtool.send.outbox import Outbox

SIZE_LIMIT = 5


def seal(position: int, body: bytes) -> Message:
    return Message(position, f"id {position}", body, b"")


def positions(messages: list[Message]) -> list[int]:
    return [message.position for message in messages]


class Run:
    """An outbox, its input, and the window of the present channel, as a sender uses them."""

    def __init__(self, *tasks: bytes, skip: int = 0) -> None:
        self.input = deque(tasks)
        self.outbox = Outbox(self._take, seal, skip)
        self.shown: list[int] = []
        """The positions that a user has seen as confirmed."""
        self.connect()

    def _take(self) -> bytes | None:
        return self.input.popleft() if self.input else None

    def connect(self, messages: int = 100, size: int = 1000) -> None:
        self.window = Window(messages, size)
        self.outbox.connected(self.window)

    def publish(self) -> list[Message]:
        """Publish what there is room for; return it."""
        published = []
        while not self.window.full and (message := self.outbox.next()) is not None:
            self.window.add(message)
            published.append(message)
        return published

    def ack(self, tag: int, *, multiple: bool = False) -> list[Message]:
        """Return what it confirmed."""
        settled = self.window.ack(tag, multiple=multiple)
        self.shown += positions(self.outbox.settle(settled))
        return settled.confirmed

    def nack(self, tag: int, *, multiple: bool = False) -> None:
        self.outbox.settle(self.window.nack(tag, multiple=multiple))


class Broker(RuleBasedStateMachine):
    """A broker that answers, returns and hangs up as it pleases, and a sender that goes on.

    `open`: tag → message that the broker has not answered; `kept`: the positions that it keeps.
    """

    @initialize(skip=st.integers(0, 3))
    def begin(self, skip: int) -> None:
        self.run = Run(skip=skip)
        self.skip = skip
        self.fed = 0
        self.kept: list[int] = []
        self.confirmed: list[int] = []
        self.refused: set[int] = set()
        self.limit: int | None = None
        self.published: dict[int, Message] = {}
        self._connect()

    def _connect(self) -> None:
        self.run.connect(4, 20)
        self.tag = 0
        self.open: dict[int, Message] = {}
        self.returned: set[int] = set()

    @rule(sizes=st.lists(st.integers(1, 9), max_size=5))
    def read_and_publish(self, sizes: list[int]) -> None:
        self.run.input += [b"x" * size for size in sizes]
        self.fed += len(sizes)
        published = self.run.publish()
        assert sorted(positions(published)) == positions(published)
        for message in published:
            assert self.limit is None or len(message.body) <= self.limit
            assert self.published.setdefault(message.position, message) is message, "under a new id it is another task"
            self.tag += 1
            self.open[self.tag] = message
        # What waited for a task that is refused now is shown with the next answer.
        self.run.shown += positions(self.run.outbox.settle(Settled()))

    @precondition(lambda self: self.open.keys() - self.returned)
    @rule(data=st.data())
    def return_one(self, data: st.DataObject) -> None:
        tag = data.draw(st.sampled_from(sorted(self.open.keys() - self.returned)))
        self.returned.add(tag)
        self.run.window.mark_returned(self.open[tag].token)

    @rule(data=st.data(), multiple=st.booleans(), takes=st.booleans())
    def answer(self, data: st.DataObject, multiple: bool, takes: bool) -> None:
        """AMQP 0-9-1, basic.ack: `multiple` is every tag up to this one, and 0 is all of them."""
        tag = data.draw(st.integers(0, self.tag + 1))
        for number in [n for n in self.open if n == tag or (multiple and (tag == 0 or n < tag))]:
            message = self.open.pop(number)
            if takes and number in self.returned:
                self.refused.add(message.position)
            elif takes:
                self.kept.append(message.position)
        if takes:
            self.confirmed += positions(self.run.ack(tag, multiple=multiple))
        else:
            self.run.nack(tag, multiple=multiple)

    @rule()
    def retry_nacked(self) -> None:
        self.run.outbox.retry_nacked()
        assert self.run.outbox.nacked == []

    @rule()
    def hang_up(self) -> None:
        self.run.outbox.disconnected()
        self._connect()

    @rule()
    def name_a_size_limit(self) -> None:
        self.run.outbox.size_limit = self.limit = SIZE_LIMIT

    @invariant()
    def each_task_is_in_one_place(self) -> None:
        """Confirmed if and only if the broker keeps it; every other task that was read is unconfirmed, once."""
        if not hasattr(self, "run"):
            return
        outbox = self.run.outbox
        read = self.fed - len(self.run.input)
        assert self.confirmed == self.kept
        assert outbox.confirmed == len(self.kept)
        missing = [place for place in range(self.skip, read) if place not in self.kept]
        assert positions(outbox.unconfirmed()) == missing
        refused = {refusal.message.position for refusal in outbox.refused}
        behind = positions(outbox.confirmed_ahead())
        assert self.run.shown + behind == sorted(self.kept)
        assert not behind or min(set(missing) - refused) < behind[0]
        assert refused >= self.refused
        assert outbox.queue_gone is bool(self.refused)
        assert outbox.settled is (set(missing) == refused)
        first_missing = missing[0] if missing else read
        assert outbox.resume_at() == (self.skip if outbox.queue_gone else max(self.skip, first_missing))


TestAnyOrderOfAnswers = Broker.TestCase


def test_a_fresh_outbox_is_empty() -> None:
    """Nothing was read, nothing waits, and a run would resume at the beginning."""
    outbox = Run().outbox
    assert outbox.settled
    assert outbox.next() is None
    assert (outbox.resume_at(), outbox.confirmed, outbox.refused, outbox.unconfirmed()) == (0, 0, [], [])


def test_the_first_tasks_are_skipped() -> None:
    """Exactly `skip` of them, and they count in the positions and in the next --skip."""
    run = Run(b"a", b"b", b"c", b"d", skip=2)
    assert [message.body for message in run.publish()] == [b"c", b"d"]
    assert run.outbox.resume_at() == 2
    run.ack(1)
    assert run.outbox.resume_at() == 3
    run.ack(2)
    assert run.outbox.resume_at() == 4


def test_an_input_that_ends_within_the_skipped_tasks() -> None:
    """Nothing is sent, and the next run skips as many."""
    run = Run(b"a", skip=3)
    assert run.publish() == []
    assert run.outbox.settled
    assert run.outbox.resume_at() == 3


def test_resume_at_stops_before_a_gap() -> None:
    """Confirms overtake each other: a run that skips past an unconfirmed task would lose it."""
    run = Run(b"a", b"b", b"c")
    run.publish()
    run.ack(1)
    run.ack(3)
    assert run.outbox.resume_at() == 1
    run.outbox.disconnected()
    assert run.outbox.resume_at() == 1


def test_an_ack_of_several_confirms_all_of_them() -> None:
    """`multiple` confirms every older task too, one ack alone only its own."""
    run = Run(b"a", b"b", b"c", b"d")
    run.publish()
    run.ack(3)
    assert run.outbox.confirmed == 1
    run.ack(2, multiple=True)
    assert run.outbox.confirmed == 3
    assert positions(run.outbox.unconfirmed()) == [3]


def test_a_lost_connection_resends_in_the_order_of_the_input() -> None:
    """What was unanswered or nacked goes first, oldest first, then what is new; confirmed tasks stay confirmed."""
    run = Run(b"a", b"b", b"c", b"d")
    run.publish()
    run.ack(2)
    run.nack(3)
    run.outbox.disconnected()
    assert not run.outbox.settled
    run.connect()
    run.input.append(b"e")
    assert positions(run.publish()) == [0, 2, 3, 4]
    run.outbox.disconnected()
    run.connect(1)
    assert positions(run.publish()) == [0]
    run.outbox.disconnected()
    run.connect()
    assert positions(run.publish()) == [0, 2, 3, 4]


def test_what_can_not_be_published_now_is_the_next_again() -> None:
    """Before what else is to be sent again, and before the rest of the input."""
    run = Run(b"0", b"1")
    run.publish()
    run.outbox.disconnected()
    run.input.append(b"2")
    run.connect()
    message = run.outbox.next()
    assert message is not None
    run.outbox.put_back(message)
    assert positions(run.outbox.unconfirmed()) == [0, 1]
    assert positions(run.publish()) == [0, 1, 2]


def test_nothing_is_published_while_nacked_tasks_wait() -> None:
    """A full queue is given time; then the nacked tasks go before new ones."""
    run = Run(b"a", b"b")
    run.publish()
    run.nack(0, multiple=True)
    run.input.append(b"c")
    assert run.publish() == []
    run.outbox.retry_nacked()
    assert positions(run.publish()) == [0, 1, 2]


def test_confirms_are_shown_in_the_order_of_the_input() -> None:
    """What overtakes waits for what it has overtaken, and for nothing that was refused."""
    run = Run(b"a", b"b", b"c", b"d", b"e", skip=1)
    run.publish()
    run.ack(2)
    run.ack(3)
    assert run.shown == []
    run.window.mark_returned("id 1")
    run.ack(1)
    assert run.shown == [2, 3]
    assert run.outbox.confirmed_ahead() == []
    run.outbox.disconnected()
    assert run.shown == [2, 3]


def test_a_returned_task_is_not_confirmed() -> None:
    """The broker acks it all the same. It is refused, nothing new is read, and nothing before it may be skipped."""
    run = Run(b"a", b"b")
    run.publish()
    run.window.mark_returned("id 1")
    run.ack(2, multiple=True)
    run.input.append(b"c")
    assert run.outbox.confirmed == 1
    assert run.outbox.queue_gone
    assert [(refusal.message.body, refusal.why) for refusal in run.outbox.refused] == [
        (b"b", "no queue took it: the queue is gone")
    ]
    assert run.publish() == []
    assert run.outbox.settled
    assert run.outbox.resume_at() == 0


def test_too_large_a_task_is_refused_when_its_turn_comes() -> None:
    """Also one that was published before the limit was known; the others go on."""
    run = Run(b"12345", b"123456", b"1")
    run.publish()
    run.outbox.disconnected()
    run.outbox.size_limit = 5
    run.connect()
    run.input.append(b"1234567")
    assert positions(run.publish()) == [0, 2]
    assert [(refusal.message.position, refusal.why) for refusal in run.outbox.refused] == [
        (1, "it has 6 bytes and the broker takes 5 (max_message_size)"),
        (3, "it has 7 bytes and the broker takes 5 (max_message_size)"),
    ]
    run.ack(0, multiple=True)
    assert run.outbox.settled
    assert run.outbox.resume_at() == 1


def test_a_stopped_outbox_takes_nothing_new() -> None:
    """What was published is sent again all the same; `read` still gives the rest of the input, for --unsent."""
    run = Run(b"a")
    run.publish()
    run.outbox.stopped = True
    run.input.append(b"b")
    run.outbox.disconnected()
    run.connect()
    assert positions(run.publish()) == [0]
    assert run.outbox.read() == (1, b"b")
    assert run.outbox.read() is None

"""What became of each task, and where a later run may resume."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rqtool.amqp.window import Message
from rqtool.send.ledger import Ledger, Refusal


def _message(position: int) -> Message:
    return Message(position, f"id {position}", b"%d" % position, b"")


def _ledger(read: int) -> Ledger:
    ledger = Ledger()
    ledger.read = read
    return ledger


def _taken(ledger: Ledger) -> list[int]:
    positions = []
    while (message := ledger.next_waiting()) is not None:
        positions.append(message.position)
    return positions


def test_a_fresh_ledger_is_empty() -> None:
    """Nothing is read, nothing waits, and a run would resume at the beginning."""
    ledger = Ledger()
    assert not ledger.waiting
    assert ledger.next_waiting() is None
    assert ledger.unconfirmed() == []
    assert (ledger.resume_at(), ledger.read, ledger.confirmed, ledger.refused) == (0, 0, 0, [])


@given(st.lists(st.lists(st.integers(0, 1000), max_size=10), max_size=5))
def test_what_comes_back_is_sent_again_in_the_order_of_the_input(losses: list[list[int]]) -> None:
    """However often and in whatever order messages are taken back, the oldest goes first and none is lost."""
    ledger = Ledger()
    for positions in losses:
        ledger.take_back(_message(position) for position in positions)
    everything = sorted(position for positions in losses for position in positions)
    assert everything == [message.position for message in ledger.unconfirmed()]
    assert bool(everything) is ledger.waiting
    assert everything == _taken(ledger)
    assert not ledger.waiting


def test_what_comes_back_goes_before_what_waits() -> None:
    """A message that was lost on its second way is again before the younger ones."""
    ledger = Ledger()
    ledger.take_back([_message(0), _message(1), _message(2)])
    first = ledger.next_waiting()
    assert first is not None
    ledger.take_back([first])
    assert _taken(ledger) == [0, 1, 2]


def test_the_unconfirmed_are_the_refused_and_the_waiting_in_order() -> None:
    """A refused task stands in its place among those that merely wait."""
    ledger = _ledger(10)
    ledger.take_back([_message(3), _message(7)])
    ledger.refused += [Refusal(_message(5), "too large"), Refusal(_message(1), "too large")]
    assert [message.position for message in ledger.unconfirmed()] == [1, 3, 5, 7]


@given(st.integers(0, 50), st.sets(st.integers(0, 49)), st.sets(st.integers(0, 49)))
def test_before_resume_at_there_is_no_gap(read: int, waiting: set[int], refused: set[int]) -> None:
    """`--skip resume_at` never skips a task that is not confirmed, and skips all that are before the first such one."""
    waiting = {position for position in waiting if position < read}
    refused = {position for position in refused if position < read} - waiting
    ledger = _ledger(read)
    ledger.take_back(_message(position) for position in waiting)
    ledger.refused += [Refusal(_message(position), "") for position in refused]
    missing = waiting | refused
    confirmed = [position not in missing for position in range(read)]
    assert all(confirmed[: ledger.resume_at()])
    assert ledger.resume_at() == read or ledger.resume_at() in missing

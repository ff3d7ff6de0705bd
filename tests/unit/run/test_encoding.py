"""What a worker and its runners say to each other arrives as it was sent."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqtool.run.encoding import Answer, Answers, pack, pack_task, unpack, unpack_task
from rqtool.run.outcome import CannotRun, Done, Failed, Outcome, OutputGone, Postponed, Rejected, Shortage
from rqtool.run.task import Task

TASK = Task(b"\0body", "Grüße", "id\0\udcff", attempt=3, redelivered=False, headers={"a": "é\udcff", "": "\0"})
OUTCOMES: list[Outcome] = [
    Done(),
    Done(0),
    Failed("why", "detail", -9),
    Postponed("why", 2.5, "detail", 75),
    Rejected("why", "detail", 65),
    CannotRun("why"),
    CannotRun("why", 126),
    OutputGone("why"),
    Shortage("why"),
]


@pytest.mark.parametrize("last", [0, 3])
@pytest.mark.parametrize("written", [0, 5])
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_answers(outcome: Outcome, last: int, written: int) -> None:
    """Each verdict, with all that it says, and what the task wrote."""
    answer = Answer(outcome, last, written)
    assert Answer.unpack(answer.pack()) == answer


def test_most_answers_are_short() -> None:
    """Done needs no words."""
    assert Answer(Done()).pack() == b""


@pytest.mark.parametrize("again", [False, True])
def test_tasks(again: bool) -> None:
    """Everything of a task; one that was begun here before counts as redelivered."""
    number, head, body = unpack(pack(7, pack_task(TASK, again=again), TASK.body))
    assert (number, unpack_task(head, body)) == (7, replace(TASK, redelivered=again))


@given(cuts=st.lists(st.integers(0, 200)))
def test_answers_come_in_pieces(cuts: list[int]) -> None:
    """Wherever the stream is cut, every answer comes once, whole, and in order."""
    sent = [(number, Answer(outcome).pack()) for number, outcome in enumerate(OUTCOMES)]
    stream = b"".join(pack(number, head) for number, head in sent)
    answers = Answers()
    received = []
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(stream)], strict=True):
        received += answers.feed(stream[begin:end])
    assert received == sent

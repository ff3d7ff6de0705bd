"""How long to go on without progress."""

from __future__ import annotations

import pytest

from rqtool.amqp.window import ANSWER_SECONDS, SLOWEST
from rqtool.send.timeouts import Patience, Silence


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_it_runs_out(clock: Clock) -> None:
    """What is left shrinks with time and never falls below zero."""
    patience = Patience(30, clock)
    assert patience.left == 30
    clock.now += 29
    assert patience.left == 1
    clock.now += 2
    assert patience.left == 0


def test_progress_renews_it(clock: Clock) -> None:
    """After progress all of it is there again, also where none was left."""
    patience = Patience(30, clock)
    clock.now += 100
    patience.renew()
    assert patience.left == 30


def test_silence_counts_from_the_last_answer(clock: Clock) -> None:
    """A connection that owes answers has ANSWER_SECONDS from the last one on, and never less than nothing."""
    silence = Silence(clock)
    clock.now += 3
    assert silence.left(0) == ANSWER_SECONDS - 3
    silence.heard()
    assert silence.left(0) == ANSWER_SECONDS
    clock.now += 1000
    assert silence.left(0) == 0


def test_large_tasks_take_longer(clock: Clock) -> None:
    """What is on its way over a slow line is given the time that it needs."""
    assert Silence(clock).left(round(60 * SLOWEST)) == ANSWER_SECONDS + 60

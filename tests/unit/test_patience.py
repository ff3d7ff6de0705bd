"""How long to go on without progress."""

from __future__ import annotations

import pytest

from rqtool.patience import ANSWER_SECONDS, Patience


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


def test_a_broker_that_is_back_gets_time_to_answer(clock: Clock) -> None:
    """With nothing left, the broker has ANSWER_SECONDS after it came back."""
    patience = Patience(30, clock)
    clock.now += 100
    patience.grant()
    assert patience.left == ANSWER_SECONDS


def test_a_grant_never_shortens(clock: Clock) -> None:
    """Where more is left than a grant would give, nothing changes."""
    patience = Patience(30, clock)
    clock.now += 10
    patience.grant()
    assert patience.left == 20


def test_a_grant_is_no_longer_than_the_patience(clock: Clock) -> None:
    """Who gives a second in all gives a broker that is back no more than that."""
    patience = Patience(1, clock)
    clock.now += 100
    patience.grant()
    assert patience.left == 1


def test_there_is_one_grant_between_two_signs_of_progress(clock: Clock) -> None:
    """A broker that takes connections and confirms nothing does not hold us for ever."""
    patience = Patience(30, clock)
    clock.now += 100
    patience.grant()
    clock.now += ANSWER_SECONDS
    patience.grant()
    assert patience.left == 0
    patience.renew()
    clock.now += 100
    patience.grant()
    assert patience.left == ANSWER_SECONDS


def test_no_patience_at_all(clock: Clock) -> None:
    """`--give-up 0s` has nothing left from the start, and grants nothing."""
    patience = Patience(0, clock)
    patience.grant()
    assert patience.left == 0

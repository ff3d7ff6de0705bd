"""How many tasks a worker holds where the user gives no number."""

from __future__ import annotations

import pytest

from rqtool.work.prefetch import AHEAD, MOST, SHORT, Prefetch

MANY = 65_535


def wanted(jobs: int, *seconds: float, most: int = MANY, round_trip: float = 0.0) -> int:
    prefetch = Prefetch(jobs, most)
    prefetch.round_trip = round_trip
    for each in seconds:
        prefetch.took(each)
    return prefetch.wanted


@pytest.mark.parametrize("jobs", [1, 4, 200])
def test_it_begins_with_the_jobs(jobs: int) -> None:
    """Nothing is known yet, and a few tasks say little."""
    assert wanted(jobs) == jobs
    assert wanted(jobs, *[0.001] * 19) == jobs


@pytest.mark.parametrize("seconds", [SHORT * 1.01, 0.1, 3600.0])
def test_tasks_that_are_not_short_are_left_to_the_queue(seconds: float) -> None:
    """Beside them a round trip to the broker does not count; that shows as soon as anything is known."""
    assert wanted(3, *[seconds] * 20) == wanted(3, *[seconds] * 100) == 3


@pytest.mark.parametrize(
    ("jobs", "seconds", "expected"),
    [(1, 0.01, 7), (1, 0.002, 31), (4, 0.01, 28), (1, 0.0, 101), (2, 0.0, 202), (100, 0.0, 100 + MOST)],
)
def test_short_tasks_wait_for_less_than_a_tenth_of_a_second(jobs: int, seconds: float, expected: int) -> None:
    """As many as the jobs do in AHEAD seconds, and no more than MOST."""
    assert AHEAD == 0.06
    assert wanted(jobs, *[seconds] * 2000) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize(
    ("jobs", "seconds", "round_trip", "expected"),
    [
        (1, 0.01, 0.001, 7),
        (1, 0.01, 0.15, 22),
        (4, 0.1, 0.15, 12),
        (1, 0.4, 0.15, 1),
        (1, 0.0, 0.15, 351),
        (100, 0.0, 0.06, 900),
    ],
)
def test_more_is_on_its_way_over_a_slow_line(jobs: int, seconds: float, round_trip: float, expected: int) -> None:
    """What the jobs do in a round trip to the broker; tasks of two round trips are short."""
    assert wanted(jobs, *[seconds] * 4000, round_trip=round_trip) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize(("tasks", "expected"), [(20, 6), (40, 11), (200, 51), (240, 61), (4000, 61)])
def test_it_grows_with_the_number_of_short_tasks(tasks: int, expected: int) -> None:
    """So no more is given back for a slow one than a quarter of what was done before it."""
    assert wanted(1, *[0.001] * tasks) == expected


def test_no_more_than_the_worker_may_do() -> None:
    """--max-tasks bounds it."""
    assert wanted(1, *[0.001] * 100, most=5) == 5


def test_one_slow_task_is_remembered_and_then_forgotten() -> None:
    """A task of a second among short ones ends the haste; many short ones bring it back."""
    quick = [0.001] * 50
    assert wanted(1, *quick, 1.0) == 1
    assert wanted(1, *quick, 1.0, *quick) > 20

"""When a worker pauses after failures, and for how long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqtool.work.brake import FIRST, LONGEST, TOLERATED, Brake
from rqtool.work.options import WorkOptions
from rqtool.work.retry import parse_delays


def pauses(brake: Brake, count: int) -> list[float]:
    """Let so many attempts fail, each one right after the pause that the one before it caused."""
    now, found = 100.0, []
    for _ in range(count):
        found.append(brake.failed(now))
        now += found[-1] or 0.01
    return found


@pytest.mark.parametrize(
    ("tolerated", "expected"),
    [
        (0, [1, 2, 4, 8, 16, 30, 30, 30]),
        (2, [0, 0, 1, 2, 4, 8]),
        (TOLERATED, [0] * 9 + [1, 2, 4, 8, 16, 30, 30]),
        (None, [0] * 20),
    ],
)
def test_pauses_grow(tolerated: int | None, expected: list[float]) -> None:
    """The first failures cost nothing, then each pause is twice as long as the one before it, up to LONGEST."""
    assert pauses(Brake(tolerated), len(expected)) == expected


@pytest.mark.parametrize(
    ("delays", "expected"),
    [("1s,10s,1m", [1, 2, 4, 8, 16, 30]), ("1s,5s", [1, 2, 4, 5, 5]), ("100ms", [0.1, 0.1]), ("none", [1, 1, 1])],
)
def test_the_longest_pause_goes_by_the_retry_delays(delays: str, expected: list[float]) -> None:
    """Who lets a task wait for a tenth of a second does not want to wait half a minute for the next one."""
    options = WorkOptions("q", parse_delays(delays))
    assert pauses(Brake(0, options.longest_pause), len(expected)) == expected


def test_what_fails_during_a_pause_does_not_prolong_it() -> None:
    """It had begun before the pause, beside what caused it; yet it counts as one more in a row."""
    brake = Brake()
    assert brake.failed(100.0) == 1.0
    assert brake.failed(100.5) == 0.0
    assert (brake.left(100.9) > 0, brake.left(101.0)) == (True, 0)
    assert [brake.left(now) for now in (100.0, 100.75, 101.0)] == [1.0, 0.25, 0.0]
    assert brake.in_a_row == 2
    assert brake.failed(101.0) == 2.0


def test_what_failed_before_begins_no_pause_but_prolongs_one() -> None:
    """The bad tasks of a batch come together at its end, in all their attempts."""
    brake = Brake(9)
    assert [brake.failed(0.0, again=True) for _ in range(100)] == [0.0] * 100
    assert brake.in_a_row == 100
    assert [brake.failed(0.0) for _ in range(10)] == [0.0] * 9 + [1.0]
    assert brake.failed(1.0, again=True) == 2.0


def test_one_success_releases_it() -> None:
    """Also during a pause; and all begins anew."""
    brake = Brake(1)
    assert pauses(brake, 4) == [0, 1, 2, 4]
    assert brake.is_on
    brake.release()
    assert (brake.is_on, brake.in_a_row, brake.left(0.0)) == (False, 0, 0)
    assert pauses(brake, 3) == [0, 1, 2]


EVENTS = st.lists(st.tuples(st.booleans(), st.floats(0, 100)), max_size=60)


@given(st.integers(0, 12), EVENTS)
def test_any_course(tolerated: int, events: list[tuple[bool, float]]) -> None:
    """A pause begins only behind more failures in a row than are tolerated; none is longer than LONGEST, or begins in
    another; and what is off pauses nothing.
    """
    brake, now, row, until, last = Brake(tolerated), 0.0, 0, 0.0, 0.0
    for succeeds, seconds in events:
        now += seconds
        assert (brake.left(now) > 0) is (now < until)
        if succeeds:
            brake.release()
            row, until, last = 0, 0.0, 0.0
        else:
            row += 1
            paused = brake.failed(now)
            assert bool(paused) is (row > tolerated and now >= until)
            if paused:
                assert paused == (min(2 * last, LONGEST) if last else FIRST)
                until, last = now + paused, paused
        assert brake.in_a_row == row
        assert brake.is_on is (last > 0)

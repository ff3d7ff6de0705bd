"""What a worker says at its end."""

from __future__ import annotations

import pytest

from rqtool.work.report.tally import Tally, rate


@pytest.mark.parametrize(
    ("tally", "seconds", "line"),
    [
        (Tally(), 0.04, "0 done in 0.0s"),
        (Tally(), 3600.0, "0 done in 1h 0m"),
        (Tally(done=1), 0.5, "1 done in 0.5s"),
        (Tally(done=998, dead=2, retried=3), 72.3, "998 done, 2 failed and dead, 3 retried in 1m 12s (14/s)"),
        (Tally(dead=1), 5.0, "0 done, 1 failed and dead in 5.0s"),
        (Tally(done=7, retried=1200), 10.0, "7 done, 1,200 retried in 10s (0.7/s)"),
        (Tally(done=1_234_567), 100.0, "1,234,567 done in 1m 40s (12,346/s)"),
    ],
)
def test_a_line(tally: Tally, seconds: float, line: str) -> None:
    """What did not happen is left out, and so is a rate that says nothing."""
    assert tally.line(seconds) == line


@pytest.mark.parametrize(
    ("count", "seconds", "text"),
    [
        (5, 0.0, ""),
        (1, 11.0, ""),
        (1, 10.0, "0.1/s"),
        (99, 10.0, "9.9/s"),
        (100, 10.0, "10/s"),
        (9_999, 1.0, "9,999/s"),
    ],
)
def test_rates(count: float, seconds: float, text: str) -> None:
    """One decimal where whole numbers are too coarse."""
    assert rate(count, seconds) == text

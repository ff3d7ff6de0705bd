"""Trend lines and estimates."""

from __future__ import annotations

import pytest

from rqtool.management.samples import Sample, Samples
from rqtool.queues.trends import PLAIN_BARS, Trend, bars, empty_in, rate, short


def falling(*values: int) -> Samples:
    """The newest first, 5 s apart."""
    return tuple(Sample(1000.0 - 5 * n, value) for n, value in enumerate(values))


@pytest.mark.parametrize(
    ("values", "line"),
    [((8, 4, 0), "▁▅█"), ((0, 0, 0), "▁▁▁"), ((1, 1, 1), "███"), ((1, 1000, 0), "▁█▂"), ((7,), "  █"), ((), "   ")],
)
def test_bars(values: tuple[int, ...], line: str) -> None:
    """The newest at the right; the lowest bar is for nothing at all."""
    assert bars(falling(*values), 3) == line


def test_bars_without_unicode() -> None:
    """For a terminal that has no blocks."""
    assert bars(falling(8, 4, 0), 3, PLAIN_BARS) == "_-#"


@pytest.mark.parametrize(
    ("ready", "history", "expected"),
    [
        (0, (0, 5, 10), ""),
        (None, (), ""),
        (100, (100, 110, 120), "50 s"),
        (600, (600, 601, 602), "50 min"),
        (100, (100, 90, 80), "grows"),
        (100, (100, 100, 100), "-"),
        (100, (), "?"),
        (1705, (*range(1705, 3000, 185), 3000, 3000, *([0] * 10)), "46 s"),
        (10**12, (10**12, 10**12 + 1), "-"),
    ],
)
def test_when_it_is_empty(ready: int | None, history: tuple[int, ...], expected: str) -> None:
    """Going by the last half minute: what was sent before that is no growth."""
    assert empty_in(ready, falling(*history)) == expected


def test_the_ack_rate_of_fast_and_of_slow_workers() -> None:
    """Of the last seconds; where acks are rare, of a longer time."""
    assert Trend(acked=falling(300, 250, 200, 150)).ack_rate() == 10.0
    assert Trend(acked=falling(*([2] * 10), *([1] * 14), 0)).ack_rate() == pytest.approx(2 / 120)
    assert Trend().ack_rate() is None


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"), (-20_000, "0"), (0.01, "<0.1"), (0.25, "0.2"), (9.96, "10.0"), (12.4, "12"), (9_999, "9,999"),
        (12_345, "12.3k"),
        (999_949, "1.0M"), (123_456, "123k"), (4_500_000, "4.5M"), (2e9, "2.0G"),
    ],
)  # fmt: skip
def test_short_figures(number: float, text: str) -> None:
    """At most five characters."""
    assert short(number) == text
    assert len(text) <= 5


def test_rates() -> None:
    """Per second, over the time that is asked for, or as much of it as there is."""
    assert rate(falling(30, 20, 10, 10), 5) == 2.0
    assert rate(falling(30, 20, 10, 10), 15) == pytest.approx(20 / 15)
    assert rate(falling(0, 50), 60) == -10.0
    assert (rate(falling(1), 60), rate((), 60)) == (None, None)


def test_acks_from_sample_to_sample() -> None:
    """A counter that began anew added nothing."""
    assert [sample.value for sample in Trend(acked=falling(5, 3, 3, 9)).acks()] == [2, 0, 0]

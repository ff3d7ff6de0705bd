"""The text of the progress line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqtool.work.report.bar import ETA_SECONDS, RATE_SECONDS, Bar, Figures


def line(*course: tuple[float, Figures], width: int = 79) -> str:
    """The last line of a course of figures."""
    bar = Bar()
    return [bar.line(figures, now, width) for now, figures in course][-1]


@pytest.mark.parametrize(
    ("course", "expected"),
    [
        ([(0, Figures(0, 9, 0, None, 0.1))], "0 done, 9 failed, 0 running, paused for 1s, ? left, ETA ?"),
        ([(0, Figures(3, 10, 0, 5, 29.3))], "3 done, 10 failed, 0 running, paused for 30s, 5 left, ETA ?"),
        ([(0, Figures(0, 0, 0, None))], "0 done, 0 failed, 0 running, 0/s, ? left, ETA ?"),
        (
            [(0, Figures(0, 0, 4, 996)), (10, Figures(250, 0, 4, 746))],
            "[#####.................] 250 done, 0 failed, 4 running, 25/s, 746 left, ETA 30s",
        ),
        (
            # Others empty the queue, too.
            [(0, Figures(0, 0, 1, 20_000)), (10, Figures(10, 2, 1, 10_000))],
            "[#########..........] 10 done, 2 failed, 1 running, 1.0/s, 10,000 left, ETA 10s",
        ),
        ([(0, Figures(0, 0, 1, 10)), (10, Figures(5, 0, 1, 10))], "ETA ?"),  # as many come as go
        ([(0, Figures(0, 0, 1, 10)), (10, Figures(5, 0, 1, 20))], "ETA ?"),
        ([(0, Figures(0, 0, 1, 10)), (10, Figures(11, 0, 0, 0))], "0 left, ETA 0s"),
        ([(0, Figures(0, 0, 1, 10)), (10, Figures(10, 0, 1, 0))], "1 running, 1.0/s, 0 left, ETA ?"),
        ([(0, Figures(0, 0, 1, 10)), (10, Figures(9, 1, 0, 0, 0.0, 1))], "0.9/s, 0 left, 1 to retry, ETA ?"),
        ([(0, Figures(0, 0, 1, 10)), (10, Figures(5, 3, 1, 2, 0.0, 3))], "2 left, 3 to retry, ETA 10s"),
        ([(0, Figures(0, 0, 1, 10)), (10, Figures(5, 10, 0, 1, 9.1))], "paused for 10s, 1 left, ETA ?"),
        ([(0, Figures(0, 0, 1, 7300)), (10, Figures(10, 0, 1, 7200))], "7,200 left, ETA 12m 0s"),
    ],
)
def test_lines(course: list[tuple[float, Figures]], expected: str) -> None:
    """Rates and times come from the figures of the last seconds."""
    assert line(*course).endswith(expected)


def test_what_is_long_ago_does_not_count() -> None:
    """The rate is that of the last seconds, and so is the time that is left."""
    assert max(RATE_SECONDS, ETA_SECONDS) == 30
    course = [(float(now), Figures(now * 100, 0, 1, 100_000 - now * 100)) for now in range(100)]
    course += [(100.0 + now, Figures(10_000 + now, 0, 1, 90_000 - now)) for now in range(40)]
    assert line(*course).endswith("10,039 done, 0 failed, 1 running, 1.0/s, 89,961 left, ETA 1d 0h")


COUNT = st.integers(0, 10**7)
FIGURES = st.builds(Figures, COUNT, COUNT, COUNT, st.none() | COUNT, st.floats(0, 30), COUNT)


@given(st.lists(st.tuples(st.floats(0, 100), FIGURES), min_size=1), st.integers(1, 300))
def test_any_figures(steps: list[tuple[float, Figures]], width: int) -> None:
    """One printable line that fits, whatever the figures do."""
    bar, now = Bar(), 0.0
    for seconds, figures in steps:
        now += seconds
        text = bar.line(figures, now, width)
        assert len(text) <= width
        assert text.isprintable()

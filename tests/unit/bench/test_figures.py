"""The benchmark's arithmetic: medians of ratios within rounds, percentiles, rates from stamps, confirms."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.figures import Group, Row, group_from, percentile
from bench.peers.confirms import Confirms
from bench.stamps import rate
from bench.targets import Target


def _group(*, difference: bool = False) -> Group:
    rows = [Row("a", [10.0, 90.0, 30.0]), Row("b", [5.0, 10.0, 10.0], compare=("a", "b"), note="slow")]
    return Group("a race", "/s", rows, "a to it", difference)


def test_a_ratio_is_taken_within_each_round() -> None:
    """The median of 2, 9 and 3; the ratio of the medians would be another."""
    group = _group()
    assert group.compared(group.rows[1]) == 3.0


def test_sizes_are_compared_by_differences() -> None:
    """The median of 5, 80 and 20."""
    group = _group(difference=True)
    assert group.compared(group.rows[1]) == 20.0


def test_a_row_that_is_compared_with_nothing() -> None:
    """It has no figure."""
    group = _group()
    assert group.compared(group.rows[0]) is None


def test_a_group_survives_json() -> None:
    """What was measured yesterday is rendered as if it were today."""
    assert group_from(json.loads(json.dumps(asdict(_group())))) == _group()


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1), (1, 1), (50, 50), (50.5, 51), (99, 99), (99.5, 100), (100, 100)]
)
def test_percentiles_are_values_that_were_measured(percent: float, expected: float) -> None:
    """Nearest rank."""
    assert percentile(list(range(100, 0, -1)), percent) == expected


def test_starting_and_ending_count_for_no_rate() -> None:
    """A slow first tenth and a slow last tenth, and ten a second between them."""
    stamps = [(100.0, 10), *((100.0 + second, 10) for second in range(1, 9)), (500.0, 10)]
    assert rate(stamps, 100) == 10.0


def test_a_rate_of_several_processes() -> None:
    """Their stamps come mixed, and count together."""
    stamps = sorted([(second, 10) for second in range(10)] + [(second + 0.5, 10) for second in range(10)])
    assert rate(stamps, 200) == pytest.approx(20.0)


def test_too_few_stamps_make_no_rate() -> None:
    """What did not happen has no speed."""
    with pytest.raises(ValueError, match=r"20 of 100 tasks"):
        rate([(1.0, 10), (2.0, 10)], 100)


@pytest.mark.parametrize(
    ("target", "figure", "met"),
    [
        (Target(0.8), 0.8, True),
        (Target(0.8), 0.79, False),
        (Target(1.3, at_least=False), 1.3, True),
        (Target(1.3, at_least=False), 1.31, False),
    ],
)
def test_a_target_is_met_at_its_bound(target: Target, figure: float, met: bool) -> None:
    """At least, or at most."""
    assert target.met(figure) is met


@given(st.lists(st.tuples(st.integers(1, 50), st.booleans())))
def test_each_message_is_confirmed_once(acks: list[tuple[int, bool]]) -> None:
    """Acks in any order, several of them multiple, some of them for what was acked before."""
    confirms, settled = Confirms(50), set[int]()
    for tag, multiple in acks:
        confirms.ack(tag, multiple=multiple)
        settled |= set(range(1, tag + 1)) if multiple else {tag}
    assert confirms.settled == len(settled)

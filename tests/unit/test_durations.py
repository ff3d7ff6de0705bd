"""`200ms`, `5s`, `10m`, `2h` → seconds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqtool.durations import parse_duration
from rqtool.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("200ms", 0.2),
        ("5s", 5.0),
        ("10m", 600.0),
        ("2h", 7200.0),
        ("0s", 0.0),
        ("1.5s", 1.5),
        ("0.5h", 1800.0),
        (" 5s ", 5.0),
    ],
)
def test_a_number_and_a_unit_are_seconds(text: str, seconds: float) -> None:
    """Every unit is turned into seconds, fractions and surrounding blanks included."""
    assert pytest.approx(seconds) == parse_duration(text)


@given(st.integers(0, 10**9 - 1))
def test_milliseconds_are_thousandths(number: int) -> None:
    """N ms is a thousandth of N s, and N m a sixtieth of N h."""
    assert pytest.approx(parse_duration(f"{number}s")) == parse_duration(f"{number}ms") * 1000
    assert pytest.approx(parse_duration(f"{number}h")) == parse_duration(f"{number}m") * 60


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "s",
        "-5s",
        "+5s",
        "5 s",
        "5S",
        "5d",
        "5sec",
        "1m30s",
        ".5s",
        "5.s",
        "1,5s",
        "1e3s",
        "infs",
        "1234567890s",
        "0.1234567890s",
    ],
)
def test_anything_else_is_a_usage_error(text: str) -> None:
    """What is not a number and a unit is refused, and the error shows the text and how to write it."""
    with pytest.raises(UsageError) as refused:
        parse_duration(text)
    assert f"{text!r} is not a duration. Write a number and a unit: 200ms, 5s, 10m, 2h." == str(refused.value)


def test_an_endless_duration_is_a_usage_error() -> None:
    """A number that is larger than any float is refused, rather than being infinity."""
    with pytest.raises(UsageError):
        parse_duration("9" * 400 + "h")

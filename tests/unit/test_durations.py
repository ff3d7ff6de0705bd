"""`200ms`, `5s`, `10m`, `2h`, `3d` → seconds, and back; times of RFC 3339."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rqtool.durations import clock, format_duration, parse_duration, parse_time
from rqtool.errors import UsageError
from tests.parsing import value_or_refusal


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
        ("2d", 172_800.0),
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
        "5w",
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
    assert f"{text!r} is not a duration. Write a number and a unit: 200ms, 5s, 10m, 2h, 3d." == str(refused.value)


def test_an_endless_duration_is_a_usage_error() -> None:
    """A number that is larger than any float is refused, rather than being infinity."""
    with pytest.raises(UsageError):
        parse_duration("9" * 400 + "h")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.0004, "0ms"),
        (0.001, "1ms"),
        (0.2, "200ms"),
        (0.1 + 0.2, "300ms"),
        (0.9999, "1s"),
        (1, "1s"),
        (1.5, "1500ms"),
        (60, "1m"),
        (61, "61s"),
        (90, "90s"),
        (3600, "1h"),
        (3660, "61m"),
        (86_400, "24h"),
    ],
)
def test_a_duration_is_written_in_its_largest_unit(seconds: float, text: str) -> None:
    """The one that leaves a whole number; what is less than a millisecond is not seen."""
    assert format_duration(seconds) == text


@given(st.integers(0, 30 * 24 * 3600 * 1000 // 3))
def test_what_is_written_can_be_read(milliseconds: int) -> None:
    """Every duration in whole milliseconds comes back as it was."""
    assert round(parse_duration(format_duration(milliseconds / 1000)) * 1000) == milliseconds


@given(st.one_of(st.text(), st.from_regex(r"\s*\d+\.?\d*(ms|s|m|h)\s*", fullmatch=True)))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    """A finite number of seconds that is not below 0, or an error on one line."""
    found = value_or_refusal(parse_duration, text)
    assert found.isprintable() if isinstance(found, str) else 0 <= found < 1e13


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-0.1, "0.0s"),
        (0.44, "0.4s"),
        (9.96, "10s"),
        (59.4, "59s"),
        (59.6, "1m 0s"),
        (72, "1m 12s"),
        (3599.4, "59m 59s"),
        (7500, "2h 5m"),
        (90_000, "1d 1h"),
    ],
)
def test_a_duration_to_read(seconds: float, text: str) -> None:
    """Two units at most."""
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("1970-01-01t00:00:01z", 1.0),
        ("1970-01-01 01:00:00+01:00", 0.0),
        ("1969-12-31T19:00:00.25-05:00", 0.25),
        ("1970-01-01T00:00:00.123456789Z", 0.123456),
        ("2026-12-24T18:00:00+01:00", 1_798_131_600.0),
    ],
)
def test_a_time_with_a_zone(text: str, seconds: float) -> None:
    """Every form of RFC 3339."""
    assert parse_time(text) == seconds


def test_a_time_without_a_zone_is_refused() -> None:
    """It could be meant anywhere."""
    with pytest.raises(UsageError, match=r"has no time zone\. Add Z for UTC, or an offset: 2026-12-24T18:00:00"):
        parse_time("2026-12-24T18:00:00")


@given(
    st.one_of(st.text(), st.from_regex(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?", fullmatch=True))
)
@example("2026-02-30T18:00:00Z")
@example("2026-12-31T23:59:60Z")
@example("0001-01-01T00:00:00+23:59")
@example("2026-12-24")
@example("20261224T180000Z")
def test_any_text_is_a_time_or_refused(text: str) -> None:
    """A number of seconds, or an error on one line."""
    found = value_or_refusal(parse_time, text)
    assert found.isprintable() if isinstance(found, str) else abs(found) < 1e12

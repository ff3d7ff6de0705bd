"""Durations and times as users write them: `200ms`, `5s`, `10m`, `2h`, `3d`, `2026-12-24T18:00:00+01:00`. Pure."""

from __future__ import annotations

import re
from datetime import datetime

from rqtool.errors import UsageError

LONGEST_DELAY = 30 * 24 * 3600.0
"""Seconds: a queue's time to live is 32 bits of milliseconds."""
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d)")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?([Zz]|[+-]\d\d:\d\d)?")


def parse_duration(text: str) -> float:
    """Return seconds. Raises UsageError for anything but a number and one of ms, s, m, h and d."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not a duration", "Write a number and a unit: 200ms, 5s, 10m, 2h, 3d")
    number, unit = match.groups()
    return float(number) * _SECONDS[unit]


def parse_time(text: str) -> float:
    """Return an RFC 3339 time in seconds since 1970. Raises UsageError, also for a time without a zone."""
    match = _TIME.fullmatch(text.strip())
    if match is not None and not match[1]:
        raise UsageError(f"{text!r} has no time zone", f"Add Z for UTC, or an offset: {text.strip()}+01:00")
    try:
        return datetime.fromisoformat(match[0].upper() if match else "").timestamp()
    except (ValueError, OverflowError):
        raise UsageError(f"{text!r} is not a time", "Write date, time and zone: 2026-12-24T18:00:00+01:00") from None


def is_duration(text: str) -> bool:
    return _DURATION.fullmatch(text.strip()) is not None


def format_duration(seconds: float) -> str:
    """Return it in the largest unit that gives a whole number: 0.2 is `200ms`, 90 is `90s`, 60 is `1m`."""
    milliseconds = round(seconds * 1000)
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


_WORDS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def about(seconds: float) -> str:
    """Return a duration in one unit, rounded down: `45 s`, `12 min`, `3 h`, `2 d`."""
    whole = max(0, int(seconds))
    return next((f"{whole // size} {unit}" for size, unit in _WORDS if whole >= size), f"{whole} s")


def clock(seconds: float) -> str:
    """Return a readable duration: `0.4s`, `12s`, `1m 12s`, `2h 5m`, `3d 4h`."""
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f}s"
    whole = round(seconds)
    for size, unit, smaller, less in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // smaller}{less}"
    return f"{whole}s"

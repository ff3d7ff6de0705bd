"""Where a queue is going: trend lines, rates, and when it will be empty. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from rqtool.durations import about
from rqtool.management.samples import Sample, Samples

BARS, PLAIN_BARS = "▁▂▃▄▅▆▇█", "_.-=*#"
RATE_SECONDS = 15
"""A rate is the mean over so many seconds, or over a longer time if there are few acks."""
SLOW_RATE_SECONDS = 120
DRAIN_SECONDS = 30
LONGEST = 100 * 86_400.0
"""Seconds; a longer estimate means nothing."""


@dataclass(frozen=True, slots=True)
class Trend:
    """The last minutes of a queue: ready, unacknowledged, and the counter of its acks."""

    ready: Samples = ()
    unacked: Samples = ()
    acked: Samples = ()

    def ack_rate(self) -> float | None:
        """Per second."""
        now = rate(self.acked, RATE_SECONDS)
        return now if now is None or now > 1 else rate(self.acked, SLOW_RATE_SECONDS)

    def acks(self) -> Samples:
        """Acks from sample to sample; none where the counter was reset."""
        return tuple(Sample(new.time, max(0, new.value - old.value)) for new, old in pairwise(self.acked))


def rate(samples: Samples, seconds: float) -> float | None:
    """Change per second over the last `seconds`, negative where it falls; None without history."""
    if len(samples) < 2:
        return None
    newest = samples[0]
    old = [sample for sample in samples[1:] if sample.time >= newest.time - seconds]
    base = old[-1] if old else samples[1]
    return (newest.value - base.value) / (newest.time - base.time)


def bars(samples: Samples, width: int, symbols: str = BARS) -> str:
    """A trend line of `width` characters, the newest at the right, scaled from 0 to its highest value."""
    values = [sample.value for sample in reversed(samples[:width])]
    most = max(values, default=0)
    # The lowest bar stands for 0 alone.
    levels = [0 if value <= 0 else max(1, round(value / most * (len(symbols) - 1))) for value in values]
    return "".join(symbols[level] for level in levels).rjust(width)


def empty_in(ready: int | None, samples: Samples) -> str:
    """When no message will be ready, by the last half minute: `12 min`, `grows`, `-` (no change), `?` (no history), or
    empty (none is).
    """
    if not ready:
        return ""
    slope = rate(samples, DRAIN_SECONDS)
    if slope is None:
        return "?"
    if slope == 0:
        return "-"
    seconds = ready / -slope
    return "grows" if slope > 0 else about(seconds) if seconds < LONGEST else "-"


def short(number: float) -> str:
    """A figure in at most five characters: `0.2`, `12`, `1,234`, `12.3k`, `4.5M`. Negative figures are shown as 0: the
    rate of a counter that was reset means nothing.
    """
    number = max(0.0, number)
    if number < 10 and number != int(number):
        return f"{number:.1f}" if number >= 0.05 else "<0.1"
    if number < 10_000:
        return f"{number:,.0f}"
    size, unit = next((size, unit) for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if number >= size * 0.9995)
    return f"{number / size:.1f}{unit}" if number < size * 99.95 else f"{number / size:.0f}{unit}"

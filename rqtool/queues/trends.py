"""Where a queue is going: trend lines, rates, and when it will be empty. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from rqtool.durations import about
from rqtool.queues.history import Samples, increments, rate, trend

BARS, PLAIN_BARS = "▁▂▃▄▅▆▇█", "_.-=*#"
RATE_SECONDS = 15
"""What a rate is the mean of; acks of slower workers are looked for in a longer time."""
SLOW_RATE_SECONDS = 120
DRAIN_SECONDS = 60
LONGEST = 100 * 86_400.0
"""An estimate beyond this says nothing."""


@dataclass(frozen=True, slots=True)
class History:
    """What a queue was in the last minutes: ready, unacknowledged, and how many acks there were in all."""

    ready: Samples = ()
    unacked: Samples = ()
    acked: Samples = ()

    def ack_rate(self) -> float | None:
        """Per second."""
        now = rate(self.acked, RATE_SECONDS)
        return now if now is None or now > 1 else rate(self.acked, SLOW_RATE_SECONDS)

    def acks(self) -> Samples:
        """How many there were from sample to sample."""
        return increments(self.acked)


def bars(samples: Samples, width: int, symbols: str = BARS) -> str:
    """A trend line of `width` characters, the newest at the right; from 0 to the highest value of them all."""
    values = trend(samples, width)
    most = max(values, default=0)
    line = "".join(symbols[_level(value, most, len(symbols))] for value in values)
    return line.rjust(width)


def _level(value: int, most: int, levels: int) -> int:
    """The lowest bar is for nothing at all."""
    return 0 if value <= 0 else max(1, round(value / most * (levels - 1)))


def empty_in(ready: int | None, samples: Samples) -> str:
    """When nothing will be ready, going by the last minute: `12 min`; `grows`; `-`: it stands still; empty: it is."""
    if not ready:
        return ""
    slope = rate(samples, DRAIN_SECONDS)
    if slope is None or slope == 0:
        return "-"
    seconds = ready / -slope
    return "grows" if slope > 0 else about(seconds) if seconds < LONGEST else "-"


def short(number: float) -> str:
    """A figure in at most five characters: `0.2`, `12`, `1,234`, `12.3k`, `4.5M`. A counter that began anew has no rate
    that makes sense: what is less than 0 is shown as 0.
    """
    number = max(0.0, number)
    if number < 10 and number != int(number):
        return f"{number:.1f}" if number >= 0.05 else "<0.1"
    if number < 10_000:
        return f"{number:,.0f}"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size * 0.9995:
            return f"{number / size:.1f}{unit}" if number < size * 99.95 else f"{number / size:.0f}{unit}"
    return f"{number:.0f}"

"""Counters and lengths as the broker has sampled them. Pure.

Lists of the management API give samples for the parameters `msg_rates_age`, `msg_rates_incr` (counters), `lengths_age`,
`lengths_incr` (messages) and `data_rates_age`, `data_rates_incr` (octets): one per increment, the newest first, in the
broker's time. It keeps ten minutes by 5 s and an hour by 60 s. https://www.rabbitmq.com/docs/management#sampling
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from rqtool.management.fields import at

LAG = 5.0
"""Seconds by which the newest sample may be older than its time: queues and channels report every 5 s."""
_LARGEST = 1e18


@dataclass(frozen=True, slots=True)
class Sample:
    """`time` in seconds of the broker's clock."""

    time: float
    value: int


Samples = tuple[Sample, ...]
"""Newest first; empty if the broker keeps none."""


def read_samples(row: object, *path: str) -> Samples:
    """The samples below `path` in a row of the API, one for each time. Skips what is not a number."""
    found = at(row, *path, "samples")
    samples = {
        entry["timestamp"] / 1000: int(entry["sample"])
        for entry in (found if isinstance(found, list) else [])
        if isinstance(entry, Mapping) and _is_number(entry.get("timestamp")) and _is_number(entry.get("sample"))
    }
    return tuple(Sample(time, samples[time]) for time in sorted(samples, reverse=True))


def _is_number(value: object) -> bool:
    """Not NaN, infinite or too large for arithmetic: Python's JSON reads all of those."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST


def added(one: Samples, other: Samples) -> Samples:
    if not (one and other):
        return one or other
    others = {sample.time: sample.value for sample in other}
    return tuple(Sample(s.time, s.value + others[s.time]) for s in one if s.time in others)


def last_change(samples: Samples, kind: Callable[[int, int], bool] = operator.ne) -> float | None:
    """When the figure last changed; with `operator.gt`: last rose; `lt`: last fell. None: not within the samples."""
    return next((new.time for new, old in pairwise(samples) if kind(new.value, old.value)), None)

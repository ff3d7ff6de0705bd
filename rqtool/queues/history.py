"""What the broker remembers of its figures: counters and lengths as samples, and what follows from them. Pure.

Lists of the management API give samples for the parameters `msg_rates_age`, `msg_rates_incr` (counters), `lengths_age`,
`lengths_incr` (messages) and `data_rates_age`, `data_rates_incr` (octets): one per increment, the newest first, in the
broker's time. It keeps ten minutes by 5 s and an hour by 60 s. https://www.rabbitmq.com/docs/management#sampling
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

LAG = 5.0
"""Seconds by which the newest sample may be older than it says: queues and channels report every 5 s."""


_LARGEST = 1e18


@dataclass(frozen=True, slots=True)
class Sample:
    """`time` in seconds of the broker's clock."""

    time: float
    value: int


Samples = tuple[Sample, ...]
"""The newest first; empty where the broker says nothing."""


def read_samples(row: object, *path: str) -> Samples:
    """The samples below `path` in a row of the API, one for each time; what makes no sense is left out."""
    for key in path:
        row = row.get(key) if isinstance(row, Mapping) else None
    found = row.get("samples") if isinstance(row, Mapping) else None
    samples = {
        entry["timestamp"] / 1000: int(entry["sample"])
        for entry in (found if isinstance(found, list) else [])
        if isinstance(entry, Mapping) and _is_number(entry.get("timestamp")) and _is_number(entry.get("sample"))
    }
    return tuple(Sample(time, samples[time]) for time in sorted(samples, reverse=True))


def added(one: Samples, other: Samples) -> Samples:
    """The sum of two counters."""
    if not (one and other):
        return one or other
    others = {sample.time: sample.value for sample in other}
    return tuple(Sample(s.time, s.value + others[s.time]) for s in one if s.time in others)


def last_rise(samples: Samples) -> float | None:
    """When a counter was seen to have grown last, None where it did not in the time that is remembered."""
    return next((new.time for new, old in pairwise(samples) if new.value > old.value), None)


def last_fall(samples: Samples) -> float | None:
    """When a length was seen to have shrunk last."""
    return next((new.time for new, old in pairwise(samples) if new.value < old.value), None)


def last_nought(samples: Samples) -> float | None:
    """When a length was 0 last."""
    return next((sample.time for sample in samples if sample.value == 0), None)


def last_change(samples: Samples) -> float | None:
    return next((new.time for new, old in pairwise(samples) if new.value != old.value), None)


@dataclass(frozen=True, slots=True)
class Flow:
    """Deliveries that want an ack, and acks, of one channel or one queue; `held`: delivered and not settled now.

    What is held may be known some seconds sooner or later than what was delivered; deliveries and acks are counted at
    the same moments.

    `released`: when something else than an ack is known to have settled some (a reject). `emptied`: when nothing was
    held. `idle_since`: from when on nothing happened at all. None: not known.
    """

    held: int
    delivered: Samples = ()
    acked: Samples = ()
    released: float | None = None
    emptied: float | None = None
    idle_since: float | None = None

    @property
    def as_of(self) -> float | None:
        """The time of the newest figure; None: there is no history."""
        return self.delivered[0].time if self.delivered else None

    @property
    def _unacked(self) -> int:
        """Delivered and not acked, as far as it is counted: what is held, and what was settled without an ack."""
        return self.delivered[0].value - (self.acked[0].value if self.acked else 0) if self.delivered else 0

    @property
    def _counted(self) -> int:
        """As much of what is held as the counters know of: the newest deliveries may not be among them yet."""
        return min(self.held, self._unacked)

    @property
    def _is_doubtful(self) -> bool:
        """Whether what was settled without an ack can't be told from what was delivered a moment ago."""
        if self._unacked <= self.held or self.as_of is None:
            return False
        return self.idle_since is None or self.idle_since > self.as_of - 2 * LAG

    @property
    def held_since(self) -> float | None:
        """Since when at least one message is held; None: nothing is, or the history does not tell.

        However the messages were settled, by ack, reject or return, in whatever order: when more had been delivered
        at some time than have been settled until now, one that was delivered by then is still held.
        """
        if self._counted <= 0:
            return None
        settled = self.delivered[0].value - self._counted
        held = [sample.time for sample in self.delivered if sample.value > settled]
        return max(held[-1], self.emptied or 0.0) if held else None

    @property
    def beyond(self) -> bool:
        """Whether it is held since before the first sample."""
        return bool(self.delivered) and self.held_since == self.delivered[-1].time

    @property
    def quiet_as_far_as_known(self) -> bool:
        """Whether something is held, and nothing was settled in all the time that is remembered, or none is."""
        return self.held > 0 and (not self.delivered or self.quiet_since == self.delivered[-1].time)

    def after(self, earlier: Flow) -> Flow:
        """This history, and the part of another one that is older."""
        return replace(
            self, delivered=_joined(self.delivered, earlier.delivered), acked=_joined(self.acked, earlier.acked)
        )

    @property
    def last_ack(self) -> float | None:
        """When the last ack was counted; None: there was none in the time that is remembered."""
        return last_rise(self.acked)

    @property
    def quiet_since(self) -> float | None:
        """Since when something is held and nothing is settled, for certain; None: that can't be said."""
        # Who settles without acks is alive when it gets something new: its prefetch may have been full.
        # Or it rejected and got nothing new: then, at the latest, its channel was not idle.
        rejected = self._unacked > self.held
        rejects = [last_rise(self.delivered), self.idle_since] if rejected else []
        times = [self.held_since, self.last_ack, self.released, *rejects]
        return None if times[0] is None else max(time for time in times if time is not None)

    def quiet_seconds(self) -> float:
        """How long that is, 0 where it can't be said. An ack that is not in the figures yet counts as given."""
        if self.quiet_since is None or self.as_of is None or self._is_doubtful:
            return 0.0
        return max(0.0, self.as_of - self.quiet_since - LAG)

    def held_longer_than(self, seconds: float) -> int:
        """How many are certainly held for longer than that."""
        if self._counted <= 0 or self._is_doubtful:
            return 0
        before = self.delivered[0].time - seconds
        delivered = next((sample.value for sample in self.delivered if sample.time <= before), 0)
        return max(0, delivered - self.delivered[0].value + self._counted)

    def held_seconds(self) -> float | None:
        since, now = self.held_since, self.as_of
        return None if since is None or now is None else now - since


def rate(samples: Samples, seconds: float) -> float | None:
    """Change per second over the last `seconds`, negative where it falls; None without history."""
    if len(samples) < 2:
        return None
    newest = samples[0]
    old = [sample for sample in samples[1:] if sample.time >= newest.time - seconds]
    base = old[-1] if old else samples[1]
    return (newest.value - base.value) / (newest.time - base.time)


def trend(samples: Samples, points: int) -> Sequence[int]:
    """The last `points` values, the oldest first."""
    return [sample.value for sample in samples[:points]][::-1]


def increments(samples: Samples) -> Samples:
    """A counter as what was added to it from sample to sample."""
    return tuple(Sample(new.time, max(0, new.value - old.value)) for new, old in pairwise(samples))


def _joined(late: Samples, early: Samples) -> Samples:
    return late + tuple(sample for sample in early if not late or sample.time < late[-1].time)


def _is_number(value: object) -> bool:
    """Not NaN, nor infinite, nor too large to be reckoned with: Python's JSON reads all of those."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST

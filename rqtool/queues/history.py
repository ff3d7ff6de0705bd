"""What the sampled deliveries and acks of a channel or a queue prove about the messages it holds. Pure."""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace

from rqtool.management.fields import Row
from rqtool.management.samples import LAG, Sample, Samples, added, last_change, read_samples

MOST_BECOME_DUE = 100
"""Between two samples. If more do, a queue may pass on thousands and fall behind; it keeps up with so few."""


@dataclass(frozen=True, slots=True)
class Deliveries:
    """Deliveries that need an ack, and acks, of one channel or one queue; `held`: delivered and not settled now. `held`
    may be some seconds newer or older than the counters; both counters are sampled at the same moments. `released`:
    when messages were last settled other than by an ack (a reject). `emptied`: when last nothing was held.
    `idle_since`: since when nothing at all has happened. None: unknown.
    """

    held: int
    delivered: Samples = ()
    acked: Samples = ()
    released: float | None = None
    emptied: float | None = None
    idle_since: float | None = None

    @property
    def as_of(self) -> float | None:
        """The time of the newest sample; None: there is no history."""
        return self.delivered[0].time if self.delivered else None

    @property
    def _unacked(self) -> int:
        """Delivered and not acked, by the counters: held messages, and messages settled without an ack."""
        return self.delivered[0].value - (self.acked[0].value if self.acked else 0) if self.delivered else 0

    @property
    def _counted(self) -> int:
        """How many of the held messages the counters include; the newest deliveries may be missing."""
        return min(self.held, self._unacked)

    @property
    def _is_ambiguous(self) -> bool:
        """Whether messages settled without an ack can't be told from recent deliveries."""
        if self._unacked <= self.held or self.as_of is None:
            return False
        return self.idle_since is None or self.idle_since > self.as_of - 2 * LAG

    @property
    def held_since(self) -> float | None:
        """Since when at least one message has been held; None: none is held, or the history does not show it.

        This holds for acks, rejects and returns in any order: if more messages had been delivered by some time than
        are settled now, one that was delivered by then is still held.
        """
        if self._counted <= 0:
            return None
        settled = self.delivered[0].value - self._counted
        held = [sample.time for sample in self.delivered if sample.value > settled]
        return max(held[-1], self.emptied or 0.0) if held else None

    @property
    def exceeds_history(self) -> bool:
        """Whether messages have been held since the first sample, and perhaps for longer."""
        return bool(self.delivered) and self.held_since == self.delivered[-1].time

    @property
    def never_settled(self) -> bool:
        """Whether messages are held and none was settled in the whole history, or there is no history."""
        return self.held > 0 and (not self.delivered or self.quiet_since == self.delivered[-1].time)

    def after(self, earlier: Deliveries) -> Deliveries:
        """This history, extended by the older part of another one."""
        return replace(
            self, delivered=_joined(self.delivered, earlier.delivered), acked=_joined(self.acked, earlier.acked)
        )

    @property
    def last_ack(self) -> float | None:
        """When the last ack was counted; None: there was none within the samples."""
        return last_change(self.acked, operator.gt)

    @property
    def quiet_since(self) -> float | None:
        """Since when, for certain, messages have been held and none was settled; None: unknown."""
        # A consumer that settles without acks is alive when it gets a new message: its prefetch may have been full.
        # If it rejected and got nothing new, its last sign of life is the moment its channel became idle.
        rejected = self._unacked > self.held
        rejects = [last_change(self.delivered, operator.gt), self.idle_since] if rejected else []
        times = [self.held_since, self.last_ack, self.released, *rejects]
        return None if times[0] is None else max(time for time in times if time is not None)

    def quiet_seconds(self) -> float:
        """How long that is, 0 where it is unknown. Assumes that an ack came right after the newest sample."""
        if self.quiet_since is None or self.as_of is None or self._is_ambiguous:
            return 0.0
        return max(0.0, self.as_of - self.quiet_since - LAG)

    def held_longer_than(self, seconds: float) -> int:
        """How many messages have certainly been held for longer than that."""
        if self._counted <= 0 or self._is_ambiguous:
            return 0
        before = self.delivered[0].time - seconds
        delivered = next((sample.value for sample in self.delivered if sample.time <= before), 0)
        return max(0, delivered - self.delivered[0].value + self._counted)

    def held_seconds(self) -> float | None:
        since, now = self.held_since, self.as_of
        return None if since is None or now is None else now - since


def stalled_seconds(row: Row) -> float:
    """For how long messages of a quorum queue have been due elsewhere while, for certain, none was passed on; 0: some
    were, none is due (`messages_dlx`), or it is not known. In the history they count as `messages`, and as neither
    ready nor held. So do those that RabbitMQ 4.3 delivers again later (`messages_delayed`).
    """
    if not row.get("messages_dlx") or row.get("messages_delayed"):
        return 0.0
    kinds = ("messages", "messages_ready", "messages_unacknowledged")
    messages, ready, held = (read_samples(row, f"{kind}_details") for kind in kinds)
    settled = {sample.time: sample.value for sample in added(ready, held)}
    due = tuple(Sample(s.time, s.value - settled[s.time]) for s in messages if s.time in settled)
    if not due:
        return 0.0
    nothing_due = next((sample.time for sample in due if sample.value <= 0), due[-1].time)
    moved = last_change(due, lambda new, old: not 0 <= new - old <= MOST_BECOME_DUE)
    return max(0.0, due[0].time - max(nothing_due, moved or 0.0) - LAG)


def _joined(late: Samples, early: Samples) -> Samples:
    return late + tuple(sample for sample in early if not late or sample.time < late[-1].time)

"""Figures → verdicts: what is wrong with a queue, and which client is responsible. Pure.

Nobody is accused without proof: for a suspect the broker's own history shows that a message was delivered to it longer
ago than `stuck_after`, is still held, and that nothing was acknowledged since.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Literal, get_args

from rqtool.durations import about
from rqtool.management.queue import Queue
from rqtool.management.samples import LAG
from rqtool.queues.history import Deliveries
from rqtool.queues.holders import Holder, held_by
from rqtool.text import plural
from rqtool.topology import DEAD

Verdict = Literal[
    "down", "forgotten ack?", "starved", "may drop tasks", "not durable", "dead letters", "no consumers", "unknown",
    "working", "ok",
]  # fmt: skip
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""The worst first."""

OUT_OF_REACH = {"down", "stopped", "crashed", "minority"}
"""States of a queue whose node, or whose majority, is away."""
STUCK: tuple[Verdict, ...] = ("starved", "forgotten ack?")
HEALTHY: tuple[Verdict, ...] = ("working", "ok")
SKEW = 60.0
"""Seconds by which the clock of a sender may be ahead of ours."""
STALLED_SECONDS = 240.0
"""A quorum queue that did not pass a message on tries again after three minutes."""
MOST_NAMED = 3
"""Holders that a reason names, and queues that a line of reasons names; the others are counted."""


class Clock:
    """The broker's times on the clock of this machine; the two may differ."""

    def __init__(self, broker_now: float | None, now: datetime) -> None:
        self._broker_now = broker_now
        self.now = now

    def local(self, time: float | None) -> datetime | None:
        if time is None or self._broker_now is None:
            return None
        return datetime.fromtimestamp(self.now.timestamp() - (self._broker_now - time), self.now.tzinfo)

    def hour(self, time: float | None) -> str:
        """`14:02`; on another day `Nov 25 14:02`."""
        local = self.local(time)
        if local is None:
            return ""
        return f"{local:%H:%M}" if local.date() == self.now.date() else f"{local:%b} {local.day} {local:%H:%M}"


@dataclass(frozen=True, slots=True)
class Basis:
    """The common basis of all diagnoses of a snapshot. `stuck_after`: seconds without an ack. `remembers`: how many
    seconds of history the broker keeps. `sees_all`: the user may see the consumers of others.
    """

    stuck_after: float
    clock: Clock
    remembers: float = math.inf
    sees_all: bool = True

    @property
    def is_enough(self) -> bool:
        """Whether the history is long enough to show who forgot an ack."""
        return self.remembers >= self.stuck_after + 2 * LAG


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict, and the reason in words."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class Diagnosis:
    """A queue, its own history, its holders, and what is wrong with it.

    `holders`: its consumers, and channels without a consumer that can only hold messages of this queue. `stalled`: for
    how many seconds it has passed on none of the messages that are due elsewhere.
    """

    queue: Queue
    history: Deliveries
    holders: Sequence[Holder]
    basis: Basis
    stalled: float = 0.0

    @cached_property
    def holding(self) -> list[Holder]:
        """The holders that hold messages of this queue now."""
        return [holder for holder in self.holders if holder.held] if self.queue.held else []

    @cached_property
    def suspects(self) -> list[Holder]:
        """The holders that have forgotten an ack."""
        return [each for each in self.holding if each.is_stuck(self.basis.stuck_after)] if self.basis.is_enough else []

    @cached_property
    def stuck(self) -> int:
        """How many messages are held by suspects, or for too long by a client that can't be seen."""
        if self.suspects:
            return min(self.queue.held, held_by(self.suspects))
        if not self.basis.is_enough or self.history.quiet_seconds() < self.basis.stuck_after:
            return 0
        # The known holders may be working on all the messages that they hold.
        old = min(self.queue.held, self.history.held_longer_than(self.basis.stuck_after))
        return max(0, old - held_by(self.holders))

    @cached_property
    def undecided(self) -> list[Holder]:
        """The holders that may have forgotten an ack longer ago than the broker remembers."""
        return [] if self.basis.is_enough else [holder for holder in self.holding if holder.may_be_stuck]

    @property
    def is_undecided(self) -> bool:
        """Whether the broker's history is too short for a verdict about the held messages."""
        return bool(self.queue.held and not self.basis.is_enough and (self.undecided or not self.holders))

    @property
    def oldest_ready_seconds(self) -> float | None:
        """The age of the oldest ready message by its `timestamp`; None: none is ready, or it is not known.

        While messages are held this is the most it can be: the broker names the oldest of ready and held ones.
        """
        sent = self.queue.head_timestamp
        seconds = None if not sent else round(self.basis.clock.now.timestamp() - sent, 1)
        # A timestamp in the future is in milliseconds, or from a wrong clock.
        return None if not self.queue.ready or seconds is None or seconds < -SKEW else max(0.0, seconds)

    @cached_property
    def longest_held(self) -> Deliveries | None:
        """The history that proves the longest time for which a message is held now; None: there is none."""
        own = [holder.deliveries for holder in self.holding if holder.acks_are_its_own]
        proofs = [each for each in (*own, self.history) if self.queue.held and each.held_seconds() is not None]
        return max(proofs, key=lambda each: each.held_seconds() or 0, default=None)

    @property
    def longest_held_seconds(self) -> float | None:
        return None if self.longest_held is None else self.longest_held.held_seconds()

    @cached_property
    def findings(self) -> list[Finding]:
        """All that was found, the worst first."""
        return sorted(_findings(self), key=lambda finding: VERDICTS.index(finding.verdict)) or [_ok(self.queue)]

    @property
    def verdict(self) -> Verdict:
        return self.findings[0].verdict

    @property
    def reason(self) -> str:
        return self.findings[0].reason


def _findings(d: Diagnosis) -> Iterator[Finding]:
    queue = d.queue
    if queue.state in OUT_OF_REACH:
        reason = f"out of reach with all that is in it (state {queue.state}): start its node or nodes again"
        yield Finding("down", reason)
    elif queue.messages_ready is None:
        state = f" (state {queue.state})" if queue.state not in (None, "running") else ""
        yield Finding("unknown", f"the API has no figures for it (yet){state}")
    if d.stalled >= STALLED_SECONDS:
        where = f" {queue.leader}" if queue.leader else ""
        what = f"{queue.leaving:,} due, and none was passed on for {about(d.stalled)}"
        reason = f"{what}: restart node{where}, unless the next queue is full, missing or down"
        yield Finding("down", reason)
    if d.stuck:
        yield _forgotten_ack(d)
    if queue.drops and not queue.exclusive:
        yield Finding("may drop tasks", f"{', '.join(queue.drops)}: what was confirmed may be gone unprocessed")
    if queue.durable is False and not queue.exclusive:
        yield Finding("not durable", "a restart of the broker deletes it, with its messages")
    if queue.ready and not queue.consumers and queue.type != "stream" and not queue.delays:
        yield from _no_consumers(queue)
    if d.is_undecided:
        reason = f"{queue.held:,} held; by whom and since when is not known"
        if d.basis.remembers and d.undecided:
            reason = f"{_accused(d, d.undecided)}; the broker remembers no more"
        yield Finding("unknown", reason)
    if queue.held:
        yield from _working(d)


def _forgotten_ack(d: Diagnosis) -> Finding:
    if not d.suspects:
        who = (
            "; by whom the broker does not say"
            if d.basis.sees_all
            else "; by whom, or whether it is a long task, only a user tagged monitoring sees"
        )
        return Finding("forgotten ack?", _quiet(d, d.stuck, d.history) + who)
    # A consumer that does not ack at all is not among the holders.
    consumers = [holder for holder in d.holders if holder.consumer_tag is not None]
    are_all_known = d.queue.consumers is None or d.queue.consumers <= len(consumers)
    are_full = consumers and all(each in d.suspects and 0 < each.prefetch <= each.held for each in consumers)
    if d.queue.ready and are_all_known and are_full:
        reason = f"{d.queue.ready:,} ready reach nobody, the prefetch is full: {_accused(d, d.suspects)}"
        return Finding("starved", reason)
    return Finding("forgotten ack?", _accused(d, d.suspects))


def _no_consumers(queue: Queue) -> Iterator[Finding]:
    if queue.name.endswith(DEAD):  # nobody is expected to consume it
        verb = "was" if queue.ready == 1 else "were"
        reason = f"{plural(queue.ready, 'task')} of {queue.name.removesuffix(DEAD)!r} {verb} given up"
        yield Finding("dead letters", reason)
    elif queue.consumers is not None and not queue.held:
        # Held messages have a consumer: the API lists a new one late, and one that polls never.
        yield Finding("no consumers", f"{queue.ready:,} ready, and nobody consumes")


def _working(d: Diagnosis) -> Iterator[Finding]:
    workers = [holder for holder in d.holding if holder not in d.suspects and holder not in d.undecided]
    if not workers:
        if not d.stuck and not d.is_undecided:
            unknown = "; by whom and since when is not known" if d.history.as_of is None else ""
            yield Finding("working", f"{d.queue.held:,} held{unknown}")
        return
    first = max(workers, key=lambda holder: holder.deliveries.held_seconds() or 0)
    seconds = first.deliveries.held_seconds()
    since = f" for {about(seconds)}" if seconds else ""
    text = f"{min(first.held, d.queue.held):,} held{since} by {first.client.described}"
    if first.acks_are_its_own and (acked := d.basis.clock.hour(first.deliveries.last_ack)):
        text += f", last ack {acked}"
    more = len({holder.channel for holder in workers}) - 1
    yield Finding("working", text + (f"; and {more} more" if more else ""))


def _ok(queue: Queue) -> Finding:
    if queue.leaving:
        return Finding("ok", f"{queue.leaving:,} on their way to where it passes them on")
    wait = "how many wait for their time is not known yet" if queue.waiting is None else _wait(queue.waiting)
    also = "" if queue.waiting == 0 else f", {wait}"
    if not queue.ready:
        return Finding("ok", f"empty{also}")
    return Finding("ok", _wait(queue.ready) if queue.delays else f"{queue.ready:,} ready{also}")


def _accused(d: Diagnosis, holders: Sequence[Holder]) -> str:
    """The first of these holders, with what each holds and since when."""
    texts = []
    for holder in holders[:MOST_NAMED]:
        held = min(holder.held, d.queue.held)
        text = _quiet(d, held, holder.deliveries, f" by {holder.client.described}")
        if holder.shared:
            text += f" (one of several consumers on its channel, which holds {holder.held:,})"
        elif holder.consumer_tag is None:
            text += " (it has no consumer: basic.get, or cancelled)"
        if holder.client.silent_seconds:
            text += f", nor anything else for {about(holder.client.silent_seconds)}: paused, or hung?"
        texts.append(text)
    more = len(holders) - MOST_NAMED
    return "; ".join([*texts, f"and {more} more"] if more > 0 else texts)


def _quiet(d: Diagnosis, held: int, history: Deliveries, by: str = "") -> str:
    seconds = history.held_seconds()
    over = "over " if history.exceeds_history else ""
    time = "" if seconds is None else f" for {over}{about(seconds)}"
    since = d.basis.clock.hour(history.quiet_since)
    return f"{held:,} held{time}{by}: no ack{f' since {since}' if since else ''}"


def _wait(count: int) -> str:
    return "1 waits for its time" if count == 1 else f"{count:,} wait for their time"


def also(names: Sequence[str]) -> str:
    """The other queues of which the same is said."""
    more = len(names) - MOST_NAMED
    listed = f"{', '.join(names[:MOST_NAMED])} and {more:,} more" if more > 0 else ", ".join(names)
    return f" (also {listed})" if names else ""

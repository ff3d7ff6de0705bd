"""Figures → verdicts: what is wrong with a queue, and who is to be asked about it. Pure.

Nobody is accused without proof: for a suspect the broker's own history shows that something was delivered to it longer
ago than `stuck_after`, is still held, and that nothing was acknowledged since.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from rqtool.durations import about
from rqtool.management.queue import Queue
from rqtool.queues.history import LAG, Flow
from rqtool.queues.holders import Holder
from rqtool.text import plural

Verdict = Literal[
    "down", "forgotten ack?", "starved", "may drop tasks", "not durable", "dead letters", "no consumers", "unknown",
    "working", "ok",
]  # fmt: skip
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""The worst first."""

OUT_OF_REACH = {"down", "stopped", "crashed", "minority"}
"""States of a queue whose node, or whose majority, is away."""
STUCK: tuple[Verdict, ...] = ("starved", "forgotten ack?")
MOST_NAMED = 3
"""Holders that a reason names; the others are counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict, and the reason in words."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Sight:
    """What can be seen of one queue. `flow`: the queue's own history.

    `holders`: its consumers, and channels without a consumer where they can only hold messages of this queue.
    `sees_holders`: the user may see all of them; else `holders` are only its own. `remembers`: how many seconds of
    history the broker keeps.
    """

    queue: Queue
    flow: Flow
    holders: Sequence[Holder] = ()
    sees_holders: bool = True
    remembers: float = math.inf

    @property
    def held(self) -> int:
        return self.queue.messages_unacknowledged or 0

    @property
    def ready(self) -> int:
        return self.queue.messages_ready or 0

    def tells(self, stuck_after: float) -> bool:
        """Whether the history is long enough to tell who forgot an ack."""
        return self.remembers >= stuck_after + 2 * LAG


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The findings about a queue, the worst first, with what they were found in. `stuck`: messages held by suspects.

    `is_untold`: who forgot an ack can't be told, as the broker remembers too little.
    """

    sight: Sight
    findings: Sequence[Finding]
    suspects: Sequence[Holder]
    stuck: int
    is_untold: bool = False

    @property
    def queue(self) -> Queue:
        return self.sight.queue

    @property
    def verdict(self) -> Verdict:
        return self.findings[0].verdict

    @property
    def reason(self) -> str:
        return self.findings[0].reason


class Clock:
    """The broker's times, told on the clock of whoever reads; the two may differ."""

    def __init__(self, broker_now: float | None, now: datetime) -> None:
        self._broker_now = broker_now
        self.now = now

    def told(self, time: float | None) -> datetime | None:
        if time is None or self._broker_now is None:
            return None
        return datetime.fromtimestamp(self.now.timestamp() - (self._broker_now - time), self.now.tzinfo)

    def hour(self, time: float | None) -> str:
        """`14:02`; of another day `Nov 25 14:02`."""
        told = self.told(time)
        if told is None:
            return ""
        return f"{told:%H:%M}" if told.date() == self.now.date() else f"{told:%b} {told.day} {told:%H:%M}"


def diagnose(sight: Sight, stuck_after: float, clock: Clock) -> Diagnosis:
    """Judge a queue; `stuck_after` in seconds without an ack."""
    tells = sight.tells(stuck_after)
    suspects = [holder for holder in sight.holders if holder.is_stuck(stuck_after)] if sight.held and tells else []
    doubtful = [holder for holder in sight.holders if holder.may_be_stuck] if sight.held and not tells else []
    stuck = _sum(suspects, sight.held)
    if tells and not suspects:
        stuck = _held_by_nobody_known(sight, stuck_after)
    untold = None if tells else _untold(sight, doubtful, clock)
    all_of_them = (
        _down(sight.queue),
        _stuck(sight, suspects, stuck, clock),
        _may_drop(sight.queue),
        _not_durable(sight.queue),
        _unattended(sight, stuck),
        _unknown(sight.queue),
        untold,
        _working(sight, [*suspects, *doubtful], clock, told=bool(stuck or untold)),
    )
    findings = [finding for finding in all_of_them if finding is not None]
    findings.sort(key=lambda finding: VERDICTS.index(finding.verdict))
    return Diagnosis(sight, findings or [_fine(sight)], suspects, stuck, untold is not None)


def _held_by_nobody_known(sight: Sight, stuck_after: float) -> int:
    """How many messages the queue's own history says are held for too long, by somebody who can't be seen.

    Those who can be seen may be at work on as many as they hold.
    """
    if sight.flow.quiet_seconds() < stuck_after:
        return 0
    old = min(sight.held, sight.flow.held_longer_than(stuck_after))
    return max(0, old - sum({holder.channel: holder.held for holder in sight.holders}.values()))


def _sum(holders: Sequence[Holder], most: int) -> int:
    """What they hold together: a shared channel counts once, and no more than the queue has out."""
    return min(most, sum({holder.channel: holder.held for holder in holders}.values()))


def _stuck(sight: Sight, suspects: Sequence[Holder], stuck: int, clock: Clock) -> Finding | None:
    if not stuck:
        return None
    if not suspects:
        who = (
            "; by whom the broker does not say"
            if sight.sees_holders
            else "; by whom, or whether it is a long task, only a user tagged monitoring sees"
        )
        return Finding("forgotten ack?", _quiet(stuck, sight.flow, "", clock) + who)
    named = "; ".join(_accused(sight, holder, clock) for holder in suspects[:MOST_NAMED])
    more = f"; and {len(suspects) - MOST_NAMED} more" if len(suspects) > MOST_NAMED else ""
    if sight.ready and _nobody_takes(sight, suspects):
        return Finding("starved", f"{sight.ready:,} ready reach nobody, the prefetch is full: {named}{more}")
    return Finding("forgotten ack?", named + more)


def _nobody_takes(sight: Sight, suspects: Sequence[Holder]) -> bool:
    """Whether every consumer is a suspect with a full prefetch; one that does not ack at all is not among them."""
    consumers = [holder for holder in sight.holders if holder.consumer_tag is not None]
    everybody = sight.queue.consumers is None or sight.queue.consumers <= len(consumers)
    return bool(consumers) and everybody and all(each in suspects and each.is_full for each in consumers)


def _accused(sight: Sight, holder: Holder, clock: Clock) -> str:
    held = min(holder.held, sight.held)
    text = _quiet(held, holder.flow, f" by {holder.client.described}", clock)
    if holder.shared:
        text += f" (one of several consumers on its channel, which holds {holder.held:,})"
    elif holder.consumer_tag is None:
        text += " (it has no consumer: basic.get, or cancelled)"
    if holder.client.silent_seconds:
        text += f", nor anything else for {about(holder.client.silent_seconds)}: paused, or hung?"
    return text


def _quiet(held: int, flow: Flow, by: str, clock: Clock) -> str:
    seconds = flow.held_seconds()
    over = "over " if flow.beyond else ""
    time = "" if seconds is None else f" for {over}{about(seconds)}"
    since = clock.hour(flow.quiet_since)
    return f"{held:,} held{time}{by}: no ack{f' since {since}' if since else ''}"


def _down(queue: Queue) -> Finding | None:
    if queue.state not in OUT_OF_REACH:
        return None
    return Finding("down", f"out of reach with all that is in it (state {queue.state}): start its node or nodes again")


def _may_drop(queue: Queue) -> Finding | None:
    if not queue.drops or queue.exclusive:
        return None
    return Finding("may drop tasks", f"{', '.join(queue.drops)}: what was confirmed may be gone unprocessed")


def _unknown(queue: Queue) -> Finding | None:
    if queue.messages_ready is not None or queue.state in OUT_OF_REACH:
        return None
    state = f" (state {queue.state})" if queue.state not in (None, "running") else ""
    return Finding("unknown", f"what is in it the API does not know (yet){state}")


def _untold(sight: Sight, doubtful: Sequence[Holder], clock: Clock) -> Finding | None:
    """Of messages that are held, and may be forgotten for longer than the broker remembers."""
    if not sight.held or not (doubtful or not sight.holders):
        return None
    named = "; ".join(_accused(sight, holder, clock) for holder in doubtful[:MOST_NAMED])
    named += f"; and {len(doubtful) - MOST_NAMED} more" if len(doubtful) > MOST_NAMED else ""
    if sight.remembers and doubtful:
        return Finding("unknown", f"{named}; the broker remembers no more")
    return Finding("unknown", f"{sight.held:,} held; by whom and since when is not known")


def _not_durable(queue: Queue) -> Finding | None:
    if queue.durable is not False or queue.exclusive:
        return None
    return Finding("not durable", "a restart of the broker deletes it, with its messages")


def _unattended(sight: Sight, stuck: int) -> Finding | None:
    queue = sight.queue
    if not sight.ready or queue.consumers or queue.type == "stream" or queue.delays:
        return None
    if queue.name.endswith(".dead"):  # how many consume may be unknown; nobody is expected to
        home = queue.name.removesuffix(".dead")
        verb = "was" if sight.ready == 1 else "were"
        return Finding("dead letters", f"{plural(sight.ready, 'task')} of {home!r} {verb} given up")
    if queue.consumers is None or sight.held > stuck:  # who holds some is at work: the figures of it come later
        return None
    return Finding("no consumers", f"{sight.ready:,} ready, and nobody consumes")


def _working(sight: Sight, suspects: Sequence[Holder], clock: Clock, *, told: bool) -> Finding | None:
    """Of those who are no `suspects`; `told`: where there is nobody else, it was said already."""
    if not sight.held:
        return None
    holders = [holder for holder in sight.holders if holder.held and holder not in suspects]
    if not holders and told:
        return None
    if not holders:
        reason = f"{sight.held:,} held"
        if sight.flow.as_of is None:
            reason += "; by whom and since when is not known"
        return Finding("working", reason)
    first = max(holders, key=lambda holder: holder.flow.held_seconds() or 0)
    seconds = first.flow.held_seconds()
    text = (
        f"{min(first.held, sight.held):,} held{f' for {about(seconds)}' if seconds else ''} by {first.client.described}"
    )
    if first.acks_are_its_own and first.flow.last_ack is not None and (acked := clock.hour(first.flow.last_ack)):
        text += f", last ack {acked}"
    more = len({holder.channel for holder in holders}) - 1
    return Finding("working", text + (f"; and {more} more" if more else ""))


def _fine(sight: Sight) -> Finding:
    if sight.queue.leaving:
        return Finding("ok", f"{sight.queue.leaving:,} on their way to where it passes them on")
    if not sight.ready:
        return Finding("ok", "empty")
    return Finding("ok", f"{sight.ready:,} wait for their time" if sight.queue.delays else f"{sight.ready:,} ready")
